"""``POST /tokenize`` and ``POST /detokenize``, as vLLM has them."""

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from qwenvl.api.chat.prompt import read_last_turn, read_prompt_format, render_messages, shown_token_ids
from qwenvl.api.chat.schemas import Messages, PromptFields
from qwenvl.api.chat.tool_schemas import ToolFields
from qwenvl.api.chat.tools import OfferedTools, read_tools
from qwenvl.api.gateway import Gateway
from qwenvl.api.generation import while_connected
from qwenvl.api.long_texts import naming, refuse_hopeless
from qwenvl.api.openapi import request_body
from qwenvl.api.prompt_logprobs import token_text
from qwenvl.api.refused import DETOKENIZE, TOKENIZE
from qwenvl.api.routes.models import check_served
from qwenvl.api.validation import parse_body
from qwenvl.api.wire import TokenId, WireModel
from qwenvl.engine import ModelInfo
from qwenvl.errors import UserError

TOKENIZE_PATH = "/tokenize"
DETOKENIZE_PATH = "/detokenize"


class TokenizeRequest(PromptFields, ToolFields):
    """Either ``prompt``, or ``messages`` with or without tools. There are no special tokens to add to either."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokenizeResponse(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(WireModel):
    model: str | None = None
    tokens: list[TokenId] = Field(fail_fast=True)


class DetokenizeResponse(BaseModel):
    prompt: str


def tokenize_routes(gateway: Gateway) -> APIRouter:
    router = APIRouter(tags=["tokenize"])

    @router.post(
        TOKENIZE_PATH,
        response_model=TokenizeResponse,
        openapi_extra={"requestBody": request_body(TOKENIZE_PATH, TokenizeRequest)},
    )
    async def tokenize(request: Request) -> Response:
        """Count the tokens of a text or a conversation. Images count in full and are not fetched."""
        wire = await parse_body(request, TokenizeRequest)
        TOKENIZE.check(wire.model_extra)
        offered = await read_tools(wire)
        _check_named(wire.model, gateway)
        work = to_thread.run_sync(_tokenize, wire, gateway.info, gateway.settings.max_images, offered)
        return _json(await while_connected(request.receive, work))

    @router.post(
        DETOKENIZE_PATH,
        response_model=DetokenizeResponse,
        openapi_extra={"requestBody": request_body(DETOKENIZE_PATH, DetokenizeRequest)},
    )
    async def detokenize(request: Request) -> Response:
        """The text of token ids, control tokens included."""
        wire = await parse_body(request, DetokenizeRequest)
        DETOKENIZE.check(wire.model_extra)
        _check_named(wire.model, gateway)
        return _json(await while_connected(request.receive, to_thread.run_sync(_detokenize, wire, gateway.info)))

    return router


def _tokenize(wire: TokenizeRequest, info: ModelInfo, max_images: int, offered: OfferedTools) -> TokenizeResponse:
    if (wire.prompt is None) == (wire.messages is None):
        raise UserError("Give either prompt or messages.", param="prompt", code="missing_required_parameter")
    if wire.prompt is not None:
        refuse_hopeless([("prompt", wire.prompt)], info, "prompt")
        with naming("prompt"):
            tokens = info.vocabulary.encode_text(wire.prompt)
    else:
        messages, prompt_format = wire.messages or [], read_prompt_format(wire, info)
        last_turn = read_last_turn(wire, messages, prompt_format)
        prompt = render_messages(messages, info, prompt_format, max_images, last_turn, offered)
        tokens = shown_token_ids(prompt.token_ids, info)
    return TokenizeResponse(
        count=len(tokens),
        max_model_len=info.max_model_len,
        tokens=tokens,
        token_strs=[token_text(token, info.vocabulary) for token in tokens] if wire.return_token_strs else None,
    )


def _detokenize(wire: DetokenizeRequest, info: ModelInfo) -> DetokenizeResponse:
    outside = next((i for i, token in enumerate(wire.tokens) if token >= info.vocab_size), None)
    if outside is not None:
        param = f"tokens[{outside}]"
        raise UserError(
            f"{param} must be at most {info.vocab_size - 1}, not {wire.tokens[outside]}.",
            param=param,
            code="invalid_value",
        )
    return DetokenizeResponse(prompt=info.vocabulary.decode(wire.tokens))


def _check_named(model: str | None, gateway: Gateway) -> None:
    if model is not None:
        check_served(model, gateway.engine)


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
