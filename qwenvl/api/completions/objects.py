"""Response bodies as OpenAI writes them, with vLLM's fields. The chunks of a stream have the same form.

They are written out with ``exclude_unset``: a field that a request did not ask for is left out, not null.
"""

from typing import Literal

from pydantic import BaseModel

from qwenvl.api.chat.objects import CompletionUsage
from qwenvl.api.prompt_logprobs import PromptLogprobs
from qwenvl.engine import FinishReason


class CompletionLogprobs(BaseModel):
    """Lists of one entry a token. The first token of a prompt has no log probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """``finish_reason`` is null in the chunks before a choice's last."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | int | None
    token_ids: list[int] = []
    prompt_token_ids: list[int] = []
    prompt_logprobs: PromptLogprobs = []


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
