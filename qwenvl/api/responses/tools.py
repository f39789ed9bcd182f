"""Tools of a response as a chat has them: the same definitions, one level deeper."""

import re
from dataclasses import replace

from qwenvl.api.chat.tool_schemas import (
    AllowedTools,
    FunctionDefinition,
    NamedFunction,
    NamedTool,
    ToolChoice,
    ToolDefinition,
    ToolFields,
)
from qwenvl.api.chat.tools import OfferedTools, read_tools
from qwenvl.api.responses.schemas import AllowedTool, CreateResponseRequest, ResponseTool, ResponseToolChoice
from qwenvl.api.validation import shorten
from qwenvl.errors import UserError

_DEEPER = re.compile(r"\.(?:function|allowed_tools)\b")


async def read_response_tools(wire: CreateResponseRequest) -> OfferedTools:
    """What the request offers the model.

    Raises:
        UserError: a definition or a choice that cannot be; ``param`` is the field.
    """
    try:
        offered = await read_tools(_chat_tools(wire))
    except UserError as error:
        if error.param is not None:
            error.message = error.message.replace(error.param, _shallower(error.param))
            error.param = _shallower(error.param)
        raise
    if offered.structure is None:
        return offered
    return replace(offered, structure=replace(offered.structure, param=_shallower(offered.structure.param)))


def _chat_tools(wire: CreateResponseRequest) -> ToolFields:
    choice = wire.tool_choice
    return ToolFields.model_validate(
        {
            "tools": [_definition(tool, f"tools[{i}]") for i, tool in enumerate(wire.tools or ())],
            "tool_choice": _choice(choice).model_dump() if isinstance(choice, ResponseToolChoice) else choice,
        }
    )


def _shallower(param: str) -> str:
    """A field of the chat's tools by its name here: ``tools[0].function.name`` is ``tools[0].name``."""
    return _DEEPER.sub("", param)


def _definition(tool: ResponseTool, path: str) -> ToolDefinition:
    _only_functions(tool.type, f"{path}.type")
    function = FunctionDefinition(
        name=_named(tool.name, f"{path}.name"),
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
    )
    return ToolDefinition(type="function", function=function)


def _choice(choice: ResponseToolChoice) -> ToolChoice:
    if choice.type != "allowed_tools":
        _only_functions(choice.type, "tool_choice.type")
        named = NamedFunction(name=_named(choice.name, "tool_choice.name"))
        return ToolChoice(type="function", function=named)
    for name in ("mode", "tools"):
        if getattr(choice, name) is None:
            raise _missing(f"tool_choice.{name}")
    assert choice.mode is not None
    assert choice.tools is not None
    tools = [_allowed(tool, f"tool_choice.tools[{i}]") for i, tool in enumerate(choice.tools)]
    return ToolChoice(type="allowed_tools", allowed_tools=AllowedTools(mode=choice.mode, tools=tools))


def _allowed(tool: AllowedTool, path: str) -> NamedTool:
    _only_functions(tool.type, f"{path}.type")
    return NamedTool(type="function", function=NamedFunction(name=_named(tool.name, f"{path}.name")))


def _only_functions(kind: str, param: str) -> None:
    if kind != "function":
        raise UserError(
            f"{param}: {shorten(kind)} is not supported by this server. Tools are functions of the application, "
            "with the type 'function'.",
            param=param,
            code="unsupported_parameter",
        )


def _named(name: str | None, param: str) -> str:
    if name is None:
        raise _missing(param)
    return name


def _missing(param: str) -> UserError:
    return UserError(f"{param} is required.", param=param, code="missing_required_parameter")
