import typing

import pytest
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from pydantic import BaseModel

from qwenvl.api.chat.schemas import ChatCompletionRequest
from qwenvl.api.completions.schemas import CompletionRequest
from qwenvl.api.refused import CHAT, COMPLETIONS, DETOKENIZE, LOAD_ADAPTER, TOKENIZE, UNLOAD_ADAPTER, Surface
from qwenvl.api.routes.adapters import LoadAdapterRequest, UnloadAdapterRequest
from qwenvl.api.routes.tokenize import DetokenizeRequest, TokenizeRequest
from qwenvl.errors import UserError

SURFACES: list[tuple[Surface, type[BaseModel]]] = [
    (CHAT, ChatCompletionRequest),
    (COMPLETIONS, CompletionRequest),
    (TOKENIZE, TokenizeRequest),
    (DETOKENIZE, DetokenizeRequest),
    (LOAD_ADAPTER, LoadAdapterRequest),
    (UNLOAD_ADAPTER, UnloadAdapterRequest),
]


@pytest.mark.parametrize(("surface", "name"), [(surface, name) for surface, _ in SURFACES for name in surface.refused])
def test_each_is_refused_by_name(surface: Surface, name: str) -> None:
    with pytest.raises(UserError) as caught:
        surface.check({name: {"x": 1}})
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    assert name in caught.value.message
    surface.check({name: None})


@pytest.mark.parametrize(("surface", "wire"), SURFACES)
def test_each_parameter_is_in_one_place(surface: Surface, wire: type[BaseModel]) -> None:
    assert not set(wire.model_fields) & set(surface.refused)
    assert surface.ignored <= set(wire.model_fields)


@pytest.mark.parametrize(
    ("surface", "wire", "documented"),
    [
        (CHAT, ChatCompletionRequest, chat_params.CompletionCreateParamsStreaming),
        (COMPLETIONS, CompletionRequest, completion_params.CompletionCreateParamsStreaming),
    ],
)
def test_every_parameter_that_openai_documents_is_known(
    surface: Surface, wire: type[BaseModel], documented: type
) -> None:
    assert set(typing.get_type_hints(documented)) <= set(wire.model_fields) | set(surface.refused)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["text"]),
        ("store", False),
        ("use_beam_search", False),
        ("length_penalty", 1),
        ("length_penalty", 1.0),
        ("logits_processors", []),
        ("documents", []),
    ],
)
def test_neutral_values(name: str, value: object) -> None:
    CHAT.check({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("modalities", ["audio"]), ("store", True), ("store", 0), ("length_penalty", 0.5), ("use_beam_search", 1)],
)
def test_asking_values(name: str, value: object) -> None:
    with pytest.raises(UserError):
        CHAT.check({name: value})


def test_unknown_parameters_are_named_as_openai_names_them() -> None:
    with pytest.raises(UserError, match=r"^Unknown parameter: 'temprature'\.$") as caught:
        CHAT.check({"temprature": None})
    assert (caught.value.param, caught.value.code) == ("temprature", "unknown_parameter")
    with pytest.raises(UserError) as caught:
        CHAT.check({"x" * 10_000: 1})
    assert len(caught.value.message) < 100


def test_what_has_a_successor_names_it() -> None:
    with pytest.raises(UserError, match=r"Use structured_outputs\.json\.$"):
        CHAT.check({"guided_json": {}})
