from typing import Any

import pytest
from transformers import AutoConfig, GenerationConfig

from qwenvl.chat import Message, Vocabulary, render
from qwenvl.errors import ContextLengthError, UserError
from qwenvl.model_executor.chatting import chat_options, chat_prompt
from qwenvl.model_executor.config import QWenConfig
from tests.parity.golden import CHECKPOINT
from tests.vocabularies import SMALL

SYSTEM = "You are a helpful assistant."


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_file(SMALL)


@pytest.fixture(scope="module")
def config() -> QWenConfig:
    return AutoConfig.from_pretrained(CHECKPOINT)


def prompt_of(config: QWenConfig, vocabulary: Vocabulary, query: str, history: Any = None, window: int = 6144) -> Any:
    return chat_prompt(config, vocabulary, query, history, SYSTEM, window)


def test_pictures_of_every_turn(config: QWenConfig, vocabulary: Vocabulary) -> None:
    history = [("Picture 1:<img>a b.png</img>\nPicture 2:<img>图.png</img>\nwhat?", "two <img>c</img>")]
    prompt = prompt_of(config, vocabulary, "and <img> https://x/d e.png </img>?", history)
    assert prompt.locations == ("a b.png", "图.png", "https://x/d e.png")
    assert prompt.token_ids.count(vocabulary.image_start) == 3
    assert prompt.token_ids.count(vocabulary.image_pad) == 3 * 256
    start = prompt.token_ids.index(vocabulary.image_start)
    assert prompt.token_ids[start + 1 : start + 258] == [*[vocabulary.image_pad] * 256, vocabulary.image_end]
    assert "two <img>c</img>" in vocabulary.decode(prompt.token_ids)


def test_the_oldest_turns_are_dropped_whole(config: QWenConfig, vocabulary: Vocabulary) -> None:
    history = [(f"<img>{i}.png</img>question {i}", f"answer {i}") for i in range(4)]
    sizes = [
        len(prompt_of(config, vocabulary, "now", history[i:]).token_ids)
        - len(prompt_of(config, vocabulary, "now").token_ids)
        for i in range(5)
    ]
    system = len(render([Message.of("system", SYSTEM)], vocabulary, add_generation_prompt=False).token_ids)
    for kept in range(5):
        size = system + sizes[4 - kept]
        # As in the original: a turn stays where system text and turns are below the window.
        assert prompt_of(config, vocabulary, "now", history, size + 1).locations == tuple(
            f"{i}.png" for i in range(4 - kept, 4)
        )
        if kept:
            assert len(prompt_of(config, vocabulary, "now", history, size).locations) == kept - 1


def test_a_text_model_knows_no_pictures(config: QWenConfig, vocabulary: Vocabulary) -> None:
    text_config = QWenConfig(**{**config.to_dict(), "visual": None})
    prompt = prompt_of(text_config, vocabulary, "a <img>b.png</img> <ref>c</ref> <img>", [("<img>d</img>", "e")])
    assert prompt.locations == ()
    assert max(prompt.token_ids) <= vocabulary.im_end
    assert "<img>b.png</img> <ref>c</ref>" in vocabulary.decode(prompt.token_ids)


@pytest.mark.parametrize(
    ("query", "history", "message"),
    [
        ("a <img>b", None, "query: <img> is not closed"),
        ("a", [("ok", "ok"), ("</img>", "b")], r"history\[1\]: </img> is not opened"),
        ("a", ["ab"], r"history\[0\] must be a query and its answer"),
        ("a", [("b", None)], r"history\[0\] must be a query and its answer"),
        ("a", {"b": "c"}, "history must be a list of queries"),
        ([{"image": "a.png"}], None, "query must be a text; tokenizer.from_list_format"),
    ],
)
def test_malformed_conversations(
    config: QWenConfig, vocabulary: Vocabulary, query: Any, history: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prompt_of(config, vocabulary, query, history)


def test_a_query_too_long_for_the_model(config: QWenConfig, vocabulary: Vocabulary) -> None:
    with pytest.raises(ContextLengthError, match=r"takes 8\d\d\d tokens, and the model's context is 8192"):
        prompt_of(config, vocabulary, "<img>a.png</img>" * 32)


def options_of(vocabulary: Vocabulary, given: GenerationConfig | None = None, **options: Any) -> Any:
    default = GenerationConfig.from_pretrained(CHECKPOINT)
    return chat_options(vocabulary, given, default, options)


def test_options(vocabulary: Vocabulary) -> None:
    chosen = options_of(vocabulary, top_p=0.9, logits_processor=[])
    assert chosen.window == 6144
    assert chosen.generation.eos_token_id == sorted(vocabulary.stop_ids)
    assert chosen.generation.top_p == 0.9
    assert chosen.generation.max_new_tokens == 512, "generation_config.json has it"
    assert chosen.others == {"logits_processor": []}
    assert options_of(vocabulary, max_window_size=100, eos_token_id=7).window == 100
    assert options_of(vocabulary, eos_token_id=7).generation.eos_token_id == [7, *sorted(vocabulary.stop_ids)]


def test_a_configuration_of_the_caller_s_own(vocabulary: Vocabulary) -> None:
    given = GenerationConfig(eos_token_id=[3, 512])
    chosen = options_of(vocabulary, given)
    assert chosen.window == 6144
    assert chosen.generation.eos_token_id == sorted({3, *vocabulary.stop_ids})
    assert chosen.generation.pad_token_id == vocabulary.end_of_text
    assert chosen.generation.max_new_tokens == 512
    assert chosen.generation.do_sample is False, "the model's own samples, and has no say"
    assert (given.eos_token_id, given.max_new_tokens) == ([3, 512], None)
    assert options_of(vocabulary, GenerationConfig(max_window_size=50)).window == 50
    with pytest.raises(UserError, match="this is a base model"):
        options_of(vocabulary, GenerationConfig(chat_format="raw"))


def test_max_length_counts_the_prompt(vocabulary: Vocabulary) -> None:
    for chosen in (options_of(vocabulary, max_length=50), options_of(vocabulary, GenerationConfig(max_length=50))):
        bounded = chosen.bounded(prompt_length=30)
        assert (bounded.max_new_tokens, bounded.max_length) == (20, None)
        with pytest.raises(ContextLengthError, match="takes 50 tokens, and max_length, which counts them, is 50"):
            chosen.bounded(prompt_length=50)
    both = options_of(vocabulary, GenerationConfig(max_length=50), max_new_tokens=7)
    assert both.bounded(prompt_length=60).max_new_tokens == 7


def test_the_system_text(config: QWenConfig, vocabulary: Vocabulary) -> None:
    said = chat_prompt(config, vocabulary, "hi", None, None, 6144).token_ids
    assert said == prompt_of(config, vocabulary, "hi").token_ids
    with pytest.raises(UserError, match="system must be a text, not list"):
        chat_prompt(config, vocabulary, "hi", None, ["be brief"], 6144)  # type: ignore[arg-type]
