"""Token ids to text as they arrive, byte by byte."""

import codecs

from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import BaseIncrementalDetokenizer

from qwenvl.chat import Vocabulary


class QWenDetokenizer(BaseIncrementalDetokenizer):
    """Incremental detokenizer over the vocabulary's own bytes; stop strings are the base class's work.

    vLLM's detokenizer for tokenizers like ours re-decodes a window of tokens each step, and where an answer ends
    inside a character it drops every whole character of the last token with it. This one decodes each byte once, shows
    every whole character, and marks bytes that never make one with U+FFFD.
    """

    def __init__(self, vocabulary: Vocabulary, request: EngineCoreRequest) -> None:
        super().__init__(request)
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._skipped: frozenset[int] = frozenset()
        if request.sampling_params.skip_special_tokens:
            self._skipped = vocabulary.control_ids

    def decode_next(self, next_token_id: int) -> str:
        """Characters that this token completes."""
        if next_token_id in self._skipped:
            return ""
        return self._decoder.decode(self._vocabulary.token_bytes(next_token_id))

    def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
        """Take new tokens; the stop string they complete, if any."""
        stop_string: str | None = super().update(new_token_ids, stop_terminated)
        if stop_string is not None:
            # What follows the stop string is cut off, an unfinished character too.
            self._decoder.reset()
        return stop_string

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        """Text to show now: what is new, or all of it."""
        if finished:
            self.output_text += self._decoder.decode(b"", final=True)
        text: str = super().get_next_output_text(finished, delta)
        return text
