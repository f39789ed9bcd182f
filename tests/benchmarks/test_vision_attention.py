import pytest
import torch

from benchmarks import vision_attention


def test_both_ways_compute_the_same():
    torch.manual_seed(0)
    qkv = vision_attention.inputs(2, (3, 5, 8), "cpu", torch.float32)
    assert [tensor.shape for tensor in qkv] == [(2, 3, 5, 8)] * 3
    torch.testing.assert_close(vision_attention.fused(*qkv), vision_attention.plain(*qkv))


def test_one_row_for_each_shape_dtype_and_batch(monkeypatch, capsys):
    monkeypatch.setattr(vision_attention, "SHAPES", {"small": (2, 4, 8)})
    vision_attention.main(["--device", "cpu", "--dtypes", "float32,bfloat16", "--batch", "1,2", "--repeats", "1"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| small")]
    assert [row.split(" | ")[1:3] for row in rows] == [[d, b] for d in ("float32", "bfloat16") for b in ("1", "2")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_it_runs_on_an_accelerator(capsys):
    vision_attention.main(["--device", "cuda", "--dtypes", "bfloat16", "--batch", "1", "--repeats", "2"])
    assert "Qwen-VL (16 x 104)" in capsys.readouterr().out
