"""The tools of a request: what the model is offered, and what it is made to call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import anyio.to_thread

from qwenvl.api.chat.tool_schemas import FunctionDefinition, NamedFunction, ToolChoice, ToolFields
from qwenvl.api.structure import schema_structure, schema_text
from qwenvl.chat import Message, PromptFormat, Role
from qwenvl.chat.react import CHOSEN_INPUT, CHOSEN_NAME, OBSERVATION_STOPS, Tool
from qwenvl.engine import SamplingOptions, Structure
from qwenvl.errors import UserError

MAX_DEFINED_CHARS = 2_000_000
"""In all definitions of tools, also where the model is not told of them: responses repeat them."""

_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
_DATA_KEYWORDS = frozenset({"const", "default", "enum", "examples"})
"""Keywords of JSON schemas that hold data, not schemas."""


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """What the model is told of, which may be nothing.

    Attributes:
        forced: it must call one of them.
        structure: what the text of a forced call must look like.
        is_legacy: asked for as ``functions``, so calls are answered as ``function_call``.
    """

    tools: tuple[Tool, ...] = ()
    forced: bool = False
    structure: Structure | None = None
    is_legacy: bool = False

    @property
    def param(self) -> str:
        """The request field that offers them."""
        return "functions" if self.is_legacy else "tools"

    def texts(self) -> Iterator[tuple[str, str]]:
        """What the prompt says of them, each text after its field."""
        for tool in self.tools:
            yield self.param, tool.description
            yield self.param, tool.parameters


NO_TOOLS = OfferedTools()


@dataclass(frozen=True, slots=True)
class _Definition:
    """A function, and the field that defines it."""

    path: str
    tool: Tool
    schema: dict[str, Any]


async def read_tools(wire: ToolFields) -> OfferedTools:
    """What the request offers; in a thread, as there may be a great deal of it.

    Raises:
        UserError: a definition or a choice that cannot be; ``param`` is the field.
    """
    if not wire.tools and not wire.functions:
        _refuse_choice_of_nothing(wire)
        return NO_TOOLS
    return await anyio.to_thread.run_sync(_read_tools, wire)


def stop_before_observation(sampling: SamplingOptions) -> SamplingOptions:
    """The same, ended where the model would go on to play the tool's part."""
    return replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *OBSERVATION_STOPS))))


def check_tools_fit(
    offered: OfferedTools, messages: Sequence[Message[Any]], prompt_format: PromptFormat, *, is_answer_open: bool
) -> None:
    """Raise where the prompt has no place for the tools, or for the beginning of a forced call.

    Raises:
        UserError: names the field to change.
    """
    if not offered.tools:
        return
    if prompt_format is PromptFormat.RAW:
        _refuse(offered.param, "need a chat model and the ChatML format: a raw prompt has no place for them.")
    if not any(message.role is Role.USER for message in messages):
        _refuse("messages", f"must have a user message where there are {offered.param}.")
    if offered.forced and not is_answer_open:
        _refuse("add_generation_prompt", "must be true, and continue_final_message false, where a call is forced.")


def refuse_structured(offered: OfferedTools, structure: Structure | None) -> None:
    """Raise where the answer's structure would keep the model from calling.

    Raises:
        UserError: names the field that asks for the structure.
    """
    if offered.tools and not offered.forced and structure is not None:
        param = structure.param
        raise UserError(
            f"{param} cannot be combined with {offered.param}: the model writes its calls as text of another form. "
            "Leave one out, force the call with tool_choice, or turn calls off with the tool_choice 'none'.",
            param=param,
            code="invalid_value",
        )


def _refuse_choice_of_nothing(wire: ToolFields) -> None:
    for name, needed in (("tool_choice", "tools"), ("function_call", "functions")):
        if getattr(wire, name) not in (None, "none", "auto"):
            _refuse(name, f"needs {needed} to choose from.")


def _read_tools(wire: ToolFields) -> OfferedTools:
    if wire.tools and wire.functions:
        _refuse("functions", "cannot be combined with tools. Give one of them.")
    if wire.tools:
        if wire.function_call not in (None, "none", "auto"):
            _refuse("function_call", "needs functions. With tools, use tool_choice.")
        paths = (f"tools[{i}].function" for i in range(len(wire.tools)))
        definitions = _read_definitions(paths, [tool.function for tool in wire.tools])
        return _choose_tools(definitions, wire.tool_choice)
    assert wire.functions
    if wire.tool_choice not in (None, "none", "auto"):
        _refuse("tool_choice", "needs tools. With functions, use function_call.")
    paths = (f"functions[{i}]" for i in range(len(wire.functions)))
    definitions = _read_definitions(paths, wire.functions)
    return replace(_choose_function(definitions, wire.function_call), is_legacy=True)


def _read_definitions(paths: Iterator[str], functions: Sequence[FunctionDefinition]) -> list[_Definition]:
    definitions: dict[str, _Definition] = {}
    n_chars = 0
    for path, function in zip(paths, functions, strict=True):
        if function.name in definitions:
            _refuse(f"{path}.name", f"is {function.name!r} as that of another one. Give each a name of its own.")
        schema = function.parameters or _NO_PARAMETERS
        if schema.get("type") != "object":
            _refuse(f"{path}.parameters", "must be the JSON schema of an object, with the type 'object'.")
        tool = Tool(function.name, function.description or "", schema_text(schema, f"{path}.parameters"))
        n_chars += len(tool.description) + len(tool.parameters)
        if n_chars > MAX_DEFINED_CHARS:
            _refuse(path, f"is past the {MAX_DEFINED_CHARS:,} characters that all definitions together may have.")
        definitions[function.name] = _Definition(path, tool, schema)
    return list(definitions.values())


def _choose_tools(definitions: list[_Definition], choice: str | ToolChoice | None) -> OfferedTools:
    if choice == "none":
        return NO_TOOLS
    if isinstance(choice, ToolChoice):
        return _choose_named(definitions, choice)
    return _offer(definitions, forced=choice == "required", param="tools")


def _choose_named(definitions: list[_Definition], choice: ToolChoice) -> OfferedTools:
    path = f"tool_choice.{choice.type}"
    if choice.type == "function":
        if choice.function is None:
            _refuse(path, "is required with the type 'function'.", code="missing_required_parameter")
        return _offer([_find(definitions, choice.function, path)], forced=True, param="tools")
    allowed = choice.allowed_tools
    if allowed is None:
        _refuse(path, "is required with the type 'allowed_tools'.", code="missing_required_parameter")
    found = [_find(definitions, tool.function, f"{path}.tools[{i}].function") for i, tool in enumerate(allowed.tools)]
    chosen = [definition for definition in definitions if definition in found]
    return _offer(chosen, forced=allowed.mode == "required", param="tools")


def _choose_function(definitions: list[_Definition], choice: str | NamedFunction | None) -> OfferedTools:
    if choice == "none":
        return NO_TOOLS
    if isinstance(choice, NamedFunction):
        return _offer([_find(definitions, choice, "function_call")], forced=True, param="functions")
    return _offer(definitions, forced=False, param="functions")


def _find(definitions: list[_Definition], wanted: NamedFunction, path: str) -> _Definition:
    for definition in definitions:
        if definition.tool.name == wanted.name:
            return definition
    _refuse(f"{path}.name", f"is {wanted.name!r}, and no function of that name is defined.")


def _offer(definitions: list[_Definition], *, forced: bool, param: str) -> OfferedTools:
    tools = tuple(definition.tool for definition in definitions)
    if not forced:
        return OfferedTools(tools)
    if len(definitions) == 1:
        structure = schema_structure(definitions[0].schema, f"{definitions[0].path}.parameters")
    else:
        structure = schema_structure(_schema_of_choice(definitions), param)
    return OfferedTools(tools, forced=True, structure=structure)


def _schema_of_choice(definitions: list[_Definition]) -> dict[str, Any]:
    """A name, then that function's arguments: what the form has on two lines, as one object."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    CHOSEN_NAME: {"const": definition.tool.name},
                    CHOSEN_INPUT: {"$ref": f"#/$defs/{definition.tool.name}"},
                },
                "required": [CHOSEN_NAME, CHOSEN_INPUT],
                "additionalProperties": False,
            }
            for definition in definitions
        ],
        "$defs": {
            definition.tool.name: _moved(definition.schema, f"#/$defs/{definition.tool.name}")
            for definition in definitions
        },
    }


def _moved(schema: Any, root: str) -> Any:
    """A schema whose references to its own root lead to ``root``."""
    if isinstance(schema, list):
        return [_moved(item, root) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: value if name in _DATA_KEYWORDS else _moved(value, root) for name, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference[1:]
    return moved


def _refuse(param: str, reason: str, *, code: str = "invalid_value") -> NoReturn:
    raise UserError(f"{param} {reason}", param=param, code=code)
