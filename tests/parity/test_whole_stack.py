"""The goldens through the engine and through HTTP."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from qwenvl.engine import GenerationRequest, SamplingOptions
from tests.parity.conversations import golden_body
from tests.parity.golden import LOGPROB_TOLERANCE, STEPS, GoldenCase, case_named, cases
from tests.stack import Stack

pytestmark = pytest.mark.slow

NAMES = [case.name for case in cases()]


@pytest.mark.parametrize("name", NAMES)
def test_engine(stack: Stack, name: str) -> None:
    case = case_named(name)
    sampling = SamplingOptions(
        temperature=0.0, top_p=1.0, top_k=0, max_tokens=STEPS, logprobs=5, ignore_eos=True, repetition_penalty=1.0
    )
    request = GenerationRequest(f"golden-{name}", case.token_ids, tuple(case.images), sampling)

    async def run() -> list[Any]:
        return [step async for step in stack.engine.generate(request)]

    steps = stack.live.call(run())
    deltas = [delta for step in steps for delta in step.deltas]
    assert tuple(token_id for delta in deltas for token_id in delta.token_ids) == case.answer_ids
    assert deltas[-1].finish_reason == "length"
    assert (steps[-1].usage.prompt_tokens, steps[-1].usage.completion_tokens) == (case.prompt_length, STEPS)
    positions = [position for delta in deltas for position in delta.logprobs]
    for position, best in zip(positions, case.top_logprobs, strict=True):
        assert {entry.token_id for entry in position.top} == set(best)
        assert all(abs(entry.logprob - best[entry.token_id]) < LOGPROB_TOLERANCE for entry in position.top)


@pytest.mark.parametrize("name", NAMES)
async def test_http(stack: Stack, name: str) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        await assert_golden_answer(http, stack, case_named(name))


async def test_http_all_at_once(stack: Stack) -> None:
    """Long and short prompts in flight together, streamed and whole."""
    async with httpx.AsyncClient(timeout=120) as http:
        whole = [assert_golden_answer(http, stack, case) for case in cases()]
        streamed = [assert_golden_stream(http, stack, case) for case in cases()]
        await asyncio.gather(*whole, *streamed)


async def assert_golden_answer(http: httpx.AsyncClient, stack: Stack, case: GoldenCase) -> None:
    response = await http.post(f"{stack.base_url}/chat/completions", json=golden_body(case))
    assert response.status_code == 200, response.text
    answer = response.json()
    (choice,) = answer["choices"]
    assert tuple(choice["token_ids"]) == case.answer_ids, case.name
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"] == case.prompt_length
    for position, best in zip(choice["logprobs"]["content"], case.top_logprobs, strict=True):
        expected = sorted(best.values(), reverse=True)
        found = [entry["logprob"] for entry in position["top_logprobs"]]
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < LOGPROB_TOLERANCE


async def assert_golden_stream(http: httpx.AsyncClient, stack: Stack, case: GoldenCase) -> None:
    token_ids: list[int] = []
    body = golden_body(case) | {"stream": True}
    async with http.stream("POST", f"{stack.base_url}/chat/completions", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line.removeprefix("data: "))["choices"]:
                    token_ids += choice.get("token_ids") or []
    assert tuple(token_ids) == case.answer_ids, case.name
