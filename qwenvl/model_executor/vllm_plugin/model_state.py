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
        if self.rope_state is not None:
            assert new_req_data.prefill_token_ids is not None
            prompt_length = len(new_req_data.prompt_token_ids or new_req_data.prefill_token_ids)
            self.rope_state.init_prefill_positions(
                req_index, _WithPromptLength(self.model, prompt_length), new_req_data.prefill_token_ids, mm_features=[]
            )
        if self.prompt_embeds_state is not None:
            self.prompt_embeds_state.add_request(req_index, new_req_data)


class _WithPromptLength:
    """Answers the position hook for a prefill that is longer than its prompt."""

    def __init__(self, model: Any, prompt_length: int) -> None:
        self._model = model
        self._prompt_length = prompt_length

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        rows, offset = self._model.table_rows(len(input_tokens), prompt_length=self._prompt_length)
        return rows, offset
