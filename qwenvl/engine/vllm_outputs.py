"""Between the engine protocol's messages and vLLM's."""

from collections.abc import Mapping
from typing import Any

from vllm import SamplingParams
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind

from qwenvl.engine.protocol import Delta, FinishReason, PositionLogprobs, SamplingOptions, Step, TokenLogprob, Usage


def sampling_params(options: SamplingOptions) -> SamplingParams:
    """Parameters of one request, for vLLM. Greedy answers are all equal: vLLM makes one, :class:`StepReader` copies."""
    return SamplingParams(
        n=_distinct_answers(options),
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        max_tokens=options.max_tokens,
        stop=list(options.stop),
        seed=options.seed,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        repetition_penalty=options.repetition_penalty,
        logprobs=options.logprobs,
        ignore_eos=options.ignore_eos,
        output_kind=RequestOutputKind.DELTA,
    )


def _distinct_answers(options: SamplingOptions) -> int:
    return 1 if options.temperature == 0 else options.n


class StepReader:
    """Turns the outputs of one request into steps, and adds up its usage."""

    def __init__(self, options: SamplingOptions) -> None:
        self._alternatives = options.logprobs or 0
        self._copies = options.n // _distinct_answers(options)
        self._prompt = self._completion = self._cached = 0

    def read(self, output: RequestOutput) -> Step:
        """The step that ``output`` is."""
        if output.prompt_token_ids is not None:
            self._prompt = len(output.prompt_token_ids)
        self._cached = output.num_cached_tokens or self._cached
        deltas = [
            self._delta(completion, index=completion.index + copy)
            for completion in output.outputs
            for copy in range(self._copies)
        ]
        self._completion += sum(len(delta.token_ids) for delta in deltas)
        return Step(deltas, Usage(self._prompt, self._completion, self._cached))

    def _delta(self, completion: CompletionOutput, *, index: int) -> Delta:
        token_ids = tuple(completion.token_ids)
        logprobs = None
        if completion.logprobs is not None:
            entries = zip(token_ids, completion.logprobs, strict=False)
            logprobs = tuple(self._position(token_id, position) for token_id, position in entries)
        return Delta(index, completion.text, token_ids, logprobs, _finish_reason(completion), completion.stop_reason)

    def _position(self, token_id: int, entries: Mapping[int, Any]) -> PositionLogprobs:
        # vLLM adds the chosen token to the likeliest ones where it is not among them.
        likeliest = sorted(entries.items(), key=lambda item: item[1].rank)[: self._alternatives]
        return PositionLogprobs(
            TokenLogprob(token_id, entries[token_id].logprob),
            tuple(TokenLogprob(i, entry.logprob) for i, entry in likeliest),
        )


def is_aborted(output: RequestOutput) -> bool:
    """Whether someone else ended the request."""
    return any(completion.finish_reason == "abort" for completion in output.outputs)


def _finish_reason(completion: CompletionOutput) -> FinishReason | None:
    if completion.finish_reason is None:
        return None
    return "length" if completion.finish_reason == "length" else "stop"
