"""Alpha and preemption on the V2 model runner, whose kernels need a GPU: the state's own part, which does not."""

from types import SimpleNamespace
from typing import Any

import pytest

from qwenvl.model_executor.config import QWenConfig
from tests.parity.golden import CHECKPOINT

pytest.importorskip("vllm")


class RecordingRope:
    """Keeps what the position hook answers, as vLLM's rope state does."""

    def init_prefill_positions(self, index: int, model: Any, token_ids: list[int], mm_features: list[Any]) -> None:
        self.positions, self.delta = model.get_mrope_input_positions(token_ids, mm_features)


def positions_after(prompt: int, answered: int) -> tuple[int, int]:
    """First position and delta of a request that is prefilled with ``answered`` tokens of its answer."""
    from qwenvl.model_executor.vllm_plugin.language_model import QWenLMHeadModel
    from qwenvl.model_executor.vllm_plugin.model_state import QWenModelState

    model = SimpleNamespace(config=QWenConfig.from_pretrained(CHECKPOINT), max_model_len=8192)
    model.table_rows = lambda *args, **kwargs: QWenLMHeadModel.table_rows(model, *args, **kwargs)
    state = QWenModelState.__new__(QWenModelState)
    state.model, state.rope_state = model, RecordingRope()
    state.add_request(
        0, SimpleNamespace(prompt_token_ids=[0] * prompt, prefill_token_ids=[0] * (prompt + answered), mm_features=[])
    )
    assert state.rope_state.positions.shape == (3, prompt + answered)
    return int(state.rope_state.positions[0, 0]), state.rope_state.delta


def test_alpha_is_the_prompts() -> None:
    assert positions_after(2000, 0) == (0, 0)
    assert positions_after(2000, 100) == (0, 0)
    assert positions_after(2049, 0) == (8192, 8192)
    assert positions_after(4000, 200) == (8192, 8192)
