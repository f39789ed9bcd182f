"""Between the engine protocol's messages and vLLM's."""

from collections.abc import Mapping
from typing import Any

from vllm import SamplingParams
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from qwenvl.engine.protocol import Delta, FinishReason, PositionLogprobs, SamplingOptions, Step, TokenLogprob, Usage
from qwenvl.errors import EngineError, UserError


def sampling_params(options: SamplingOptions, structure: StructuredOutputsParams | None = None) -> SamplingParams:
    """Parameters of one request, for vLLM; ``structure`` is what it takes for the options' own.

    Greedy answers are all equal: vLLM makes one, :class:`StepReader` copies. A structure ends where it is complete,
    whatever ``ignore_eos`` says: past its end nothing holds the model to it.
    """
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
        min_p=options.min_p,
        min_tokens=options.min_tokens,
        stop_token_ids=list(options.stop_token_ids),
        include_stop_str_in_output=options.include_stop,
        logit_bias=dict(options.logit_bias) or None,
        allowed_token_ids=list(options.allowed_token_ids) or None,
        bad_words=list(options.bad_words),
        logprobs=options.logprobs,
        prompt_logprobs=options.prompt_logprobs,
        structured_outputs=structure,
        skip_special_tokens=options.skip_control,
        ignore_eos=options.ignore_eos and structure is None,
        output_kind=RequestOutputKind.DELTA,
    )


def _distinct_answers(options: SamplingOptions) -> int:
    return 1 if options.temperature == 0 else options.n


class StepReader:
    """Turns the outputs of one request into steps, and adds up its usage."""

    def __init__(self, options: SamplingOptions) -> None:
        self._alternatives = options.logprobs or 0
        self._prompt_alternatives = options.prompt_logprobs
        self._copies = options.n // _distinct_answers(options)
        self._failure = _failure(options)
        self._prompt = self._completion = self._cached = 0

    def read(self, output: RequestOutput) -> Step:
        """The step that ``output`` is.

        Raises:
            UserError: the structure and another option together leave no token to go on with.
            EngineError: the engine gave up on the request.
        """
        if any(completion.finish_reason == "error" for completion in output.outputs):
            raise self._failure
        if output.prompt_token_ids is not None:
            self._prompt = len(output.prompt_token_ids)
        self._cached = output.num_cached_tokens or self._cached
        deltas = [
            self._delta(completion, index=completion.index + copy)
            for completion in output.outputs
            for copy in range(self._copies)
        ]
        self._completion += sum(len(delta.token_ids) for delta in deltas)
        usage = Usage(self._prompt, self._completion, self._cached)
        return Step(deltas, usage, self._prompt_logprobs(output))

    def _prompt_logprobs(self, output: RequestOutput) -> tuple[PositionLogprobs | None, ...] | None:
        # vLLM computes them for each of the n answers.
        if self._prompt_alternatives is None or not output.prompt_logprobs:
            return None
        count, self._prompt_alternatives = self._prompt_alternatives, None
        token_ids = output.prompt_token_ids or ()
        entries = zip(token_ids, output.prompt_logprobs, strict=True)
        return tuple(position and _position(token_id, position, count) for token_id, position in entries)

    def _delta(self, completion: CompletionOutput, *, index: int) -> Delta:
        token_ids = tuple(completion.token_ids)
        logprobs = None
        if completion.logprobs is not None:
            entries = zip(token_ids, completion.logprobs, strict=False)
            logprobs = tuple(_position(token_id, position, self._alternatives) for token_id, position in entries)
        return Delta(index, completion.text, token_ids, logprobs, _finish_reason(completion), completion.stop_reason)


def _position(token_id: int, entries: Mapping[int, Any], alternatives: int) -> PositionLogprobs:
    # vLLM adds the chosen token to the likeliest ones where it is not among them.
    likeliest = sorted(entries.items(), key=lambda item: item[1].rank)[:alternatives]
    return PositionLogprobs(
        TokenLogprob(token_id, entries[token_id].logprob),
        tuple(TokenLogprob(i, entry.logprob) for i, entry in likeliest),
    )


def _failure(options: SamplingOptions) -> UserError | EngineError:
    """What it means when vLLM gives up on a request."""
    narrowing = ("allowed_token_ids", "bad_words", "stop_token_ids", "logit_bias", "min_tokens")
    named = [name for name in narrowing if getattr(options, name)]
    if options.structure is None or not named:
        return EngineError("the engine failed on this request")
    param = options.structure.param
    return UserError(f"{' and '.join([param, *named])} together leave no token to go on with.", param=param)


def is_aborted(output: RequestOutput) -> bool:
    """Whether someone else ended the request."""
    return any(completion.finish_reason == "abort" for completion in output.outputs)


def _finish_reason(completion: CompletionOutput) -> FinishReason | None:
    if completion.finish_reason is None:
        return None
    return "length" if completion.finish_reason == "length" else "stop"
