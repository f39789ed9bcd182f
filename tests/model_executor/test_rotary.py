import math

import pytest
import torch

from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.rotary import logn_scale, ntk_alpha, ntk_bucket, rotary_table, rotate

CONFIG = QWenConfig(train_length=2048, kv_channels=128)


@pytest.mark.parametrize("prompt_length", [1, 2047, 2048, 2049, 4096, 4097, 8191, 8192])
def test_alpha_is_the_originals(prompt_length: int) -> None:
    original = max(1, 2 ** math.ceil(math.log2(prompt_length / 2048) + 1) - 1)
    assert ntk_alpha(ntk_bucket(prompt_length, 2048)) == original


def test_log_n_starts_past_the_training_length() -> None:
    scale = logn_scale(CONFIG, 4096)
    assert torch.all(scale[:2048] == 1)
    assert scale[4095] == pytest.approx(math.log(4096) / math.log(2048))
    assert torch.all(logn_scale(QWenConfig(use_logn_attn=False), 4096) == 1)


def test_rows_hold_every_position_under_every_alpha() -> None:
    table = rotary_table(CONFIG, 8192)
    assert table.shape == (3 * 8192, 129)
    position, bucket = 5000, 2
    base = 10000 * 7 ** (128 / 126)
    angles = position / base ** (torch.arange(0, 128, 2) / 128)
    torch.testing.assert_close(table[bucket * 8192 + position, :64], angles.cos(), atol=2e-3, rtol=0)
    assert rotary_table(QWenConfig(use_dynamic_ntk=False), 8192).shape[0] == 8192


def test_rotation_pairs_the_halves() -> None:
    x = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    quarter = torch.full((1, 1, 2), math.pi / 2)
    torch.testing.assert_close(rotate(x, quarter.cos(), quarter.sin()), torch.tensor([[[0.0, 0.0, 1.0, 0.0]]]))
