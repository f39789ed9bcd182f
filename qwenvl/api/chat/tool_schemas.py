"""Tools in requests as OpenAI writes them: definitions, choices, past calls. What they mean is for ``tools``."""

from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from qwenvl.api.wire import WireModel, by_shape

MAX_TOOLS = 128
MAX_CALLS = 128

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionDefinition(WireModel):
    """``parameters`` is a JSON schema of an object; without it, the function takes no arguments."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(WireModel):
    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(WireModel):
    name: FunctionName


class NamedTool(WireModel):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(WireModel):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)


class ToolChoice(WireModel):
    """``type`` says which of the other fields counts."""

    type: Literal["function", "allowed_tools"]
    function: NamedFunction | None = None
    allowed_tools: AllowedTools | None = None


class FunctionCall(WireModel):
    """A past call. ``arguments`` is what the model wrote, JSON or not."""

    name: FunctionName
    arguments: str


class ToolCall(WireModel):
    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: FunctionCall


ToolDefinitions = Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS, fail_fast=True)]
FunctionDefinitions = Annotated[list[FunctionDefinition], Field(max_length=MAX_TOOLS, fail_fast=True)]
ToolCalls = Annotated[list[ToolCall], Field(max_length=MAX_CALLS, fail_fast=True)]

ToolChoiceField = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("@a string")]
    | Annotated[ToolChoice, Tag("@an object")]
    | Annotated[None, Tag("@null")],
    by_shape({str: "a string", dict: "an object"}),
]
FunctionChoiceField = Annotated[
    Annotated[Literal["none", "auto"], Tag("@a string")]
    | Annotated[NamedFunction, Tag("@an object with a name")]
    | Annotated[None, Tag("@null")],
    by_shape({str: "a string", dict: "an object with a name"}),
]


class ToolFields(WireModel):
    """What a request says of tools. The last two are what OpenAI had before it had tools.

    ``parallel_tool_calls`` makes no difference: the model calls one tool at a time.
    """

    tools: ToolDefinitions | None = None
    tool_choice: ToolChoiceField = None
    parallel_tool_calls: bool | None = None
    functions: FunctionDefinitions | None = None
    function_call: FunctionChoiceField = None
