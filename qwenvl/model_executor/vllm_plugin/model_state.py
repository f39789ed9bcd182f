"""Per-request state on vLLM's V2 model runner, the default where Triton works."""

from typing import Any

from torch import Tensor
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.worker.gpu.model_states.default import DefaultModelState


class QWenModelState(DefaultModelState):
    """The default state, but dynamic NTK sees the prompt's length alone.

    After a preemption the V2 runner prefills prompt and answer together and hands both to the position hook. Taken for
    a prompt, they could fall into a later bucket and change alpha in the middle of an answer.
    """

    def add_request(self, req_index: int, new_req_data: NewRequestData) -> None:
        # Prompt embeddings, the other way to hand over a prompt, are refused with the configuration.
        prompt, prefill = new_req_data.prompt_token_ids, new_req_data.prefill_token_ids
        assert self.rope_state is not None
        assert prompt is not None
        assert prefill is not None
        hook = _WithPromptLength(self.model, len(prompt))
        self.rope_state.init_prefill_positions(req_index, hook, prefill, mm_features=[])


class _WithPromptLength:
    """Answers the position hook for a prefill that is longer than its prompt."""

    def __init__(self, model: Any, prompt_length: int) -> None:
        self._model = model
        self._prompt_length = prompt_length

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        rows, offset = self._model.table_rows(len(input_tokens), prompt_length=self._prompt_length)
        return rows, offset
