"""The fake engine keeps the protocol's promises, since the API is tested on it."""

import json
from typing import Any

import pytest

from qwenvl.engine import GenerationRequest, SamplingOptions, Step, Structure
from qwenvl.errors import UserError
from tests.fake_engine import FakeEngine

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"$ref": "#/$defs/id"},
        "tags": {"type": "array", "items": {"enum": ["红色"]}, "minItems": 2},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "rest": {"type": "number"},
    },
    "required": ["id", "tags", "either"],
    "$defs": {"id": {"type": "string", "pattern": "^[0-9]+$"}},
}


async def ask(**options: Any) -> tuple[str, list[int], Step]:
    """Text, tokens and last step of one answer."""
    engine = FakeEngine()
    await engine.start()
    sampling = SamplingOptions(**{"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_tokens": 64} | options)
    prompt = tuple(engine.info.vocabulary.encode_text("Hello"))
    steps = [step async for step in engine.generate(GenerationRequest("one", prompt, (), sampling))]
    deltas = [step.deltas[0] for step in steps]
    return "".join(delta.text for delta in deltas), [i for delta in deltas for i in delta.token_ids], steps[-1]


async def test_sampling_options() -> None:
    vocabulary = FakeEngine().info.vocabulary
    text, token_ids, _ = await ask()
    assert token_ids[-1] == vocabulary.im_end
    assert len((await ask(min_tokens=30))[1]) > 30
    assert (await ask(stop_token_ids=(token_ids[2],)))[1] == token_ids[:3]
    assert (await ask(stop=(text[2:4],), include_stop=True))[0] == text[:4]
    assert text[2:4] not in (await ask(bad_words=(text[2:4],)))[0]
    assert (await ask(logit_bias={97: 100.0}, max_tokens=3))[0] == "aaa"
    assert set((await ask(allowed_token_ids=(97, 98), max_tokens=9))[0]) <= set("ab")
    (position,) = (await ask(temperature=1.0, min_p=1.0, logprobs=1, ignore_eos=True))[2].deltas[0].logprobs or ()
    assert position.chosen.logprob == position.top[0].logprob
    assert (await ask(skip_control=False, include_stop=True))[0] == f"{text}<|im_end|>"


async def test_structures() -> None:
    for structure, expected in (
        (Structure("choice", ("是", "是")), "是"),
        (Structure("regex", "(yes|no)"), "yes"),
        (Structure("grammar", 'root ::= "a b"'), "a b"),
    ):
        assert (await ask(structure=structure))[0] == expected
    assert isinstance(json.loads((await ask(structure=Structure("json_object")))[0]), dict)
    found = json.loads((await ask(structure=Structure("json_schema", json.dumps(SCHEMA))))[0])
    assert found == {"id": "0", "tags": ["红色", "红色"], "either": True}
    with pytest.raises(UserError) as refused:
        await ask(structure=Structure("json_schema", "{", "response_format"))
    assert refused.value.param == "response_format"


async def test_log_probabilities_of_the_prompt() -> None:
    engine = FakeEngine()
    await engine.start()
    vocabulary = engine.info.vocabulary
    prompt = (*vocabulary.encode_text("Hello"), vocabulary.image_start, vocabulary.image_end)
    sampling = SamplingOptions(temperature=0.0, top_p=1.0, top_k=0, max_tokens=2, prompt_logprobs=2)
    steps = [step async for step in engine.generate(GenerationRequest("one", prompt, (), sampling))]
    entries = steps[0].prompt_logprobs
    assert entries is not None
    assert entries[0] is None
    assert len(entries) == len(prompt) + engine.info.tokens_per_image
    assert steps[1].prompt_logprobs is None
