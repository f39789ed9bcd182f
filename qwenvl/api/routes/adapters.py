"""``POST /v1/load_lora_adapter`` and ``POST /v1/unload_lora_adapter``, as vLLM has them, for admins."""

import logging
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import Field

from qwenvl.api.context import Caller, context_of
from qwenvl.api.errors import PermissionDeniedError
from qwenvl.api.openapi import request_body
from qwenvl.api.refused import LOAD_ADAPTER, UNLOAD_ADAPTER
from qwenvl.api.validation import parse_body
from qwenvl.api.wire import WireModel
from qwenvl.engine import AdapterSource, Engine
from qwenvl.engine.adapters import LONGEST_NAME
from qwenvl.errors import CheckpointError, UserError

logger = logging.getLogger(__name__)

LOAD_PATH = "/v1/load_lora_adapter"
UNLOAD_PATH = "/v1/unload_lora_adapter"

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class LoadAdapterRequest(WireModel):
    """``lora_path`` is a folder below the server's ``lora_dir``: its path from there, or the whole of it."""

    lora_name: Name
    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]
    load_inplace: bool | None = None


class UnloadAdapterRequest(WireModel):
    lora_name: Name
    lora_int_id: int | None = None


def adapter_routes(engine: Engine, folder: Path | None) -> APIRouter:
    """Routes that load adapters from ``folder``; without one they load none."""
    router = APIRouter(tags=["adapters"], default_response_class=PlainTextResponse)

    @router.post(LOAD_PATH, openapi_extra={"requestBody": request_body(LOAD_PATH, LoadAdapterRequest)})
    async def load_lora_adapter(request: Request) -> Response:
        """Serve another adapter, or another one under the name of one that is there."""
        caller = _admin(request)
        if folder is None:
            raise PermissionDeniedError("This server loads no adapters while it runs: it has no lora_dir.")
        wire = await parse_body(request, LoadAdapterRequest)
        LOAD_ADAPTER.check(wire.model_extra)
        source = AdapterSource(wire.lora_name, folder / wire.lora_path)
        try:
            adapter = await engine.load_adapter(source, inside=folder, replace=bool(wire.load_inplace))
        except CheckpointError as error:
            raise UserError(f"{error}.", param="lora_path", code="invalid_adapter") from None
        logger.info(
            "%s loaded the adapter %s of rank %d from %s", caller.name, adapter.name, adapter.rank, source.folder
        )
        return PlainTextResponse(f"Success: LoRA adapter '{adapter.name}' added successfully.")

    @router.post(UNLOAD_PATH, openapi_extra={"requestBody": request_body(UNLOAD_PATH, UnloadAdapterRequest)})
    async def unload_lora_adapter(request: Request) -> Response:
        """Serve an adapter no more. Requests that run on it finish."""
        caller = _admin(request)
        wire = await parse_body(request, UnloadAdapterRequest)
        UNLOAD_ADAPTER.check(wire.model_extra)
        await engine.unload_adapter(wire.lora_name)
        logger.info("%s unloaded the adapter %s", caller.name, wire.lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{wire.lora_name}' removed successfully.")

    return router


def _admin(request: Request) -> Caller:
    caller = context_of(request).caller
    if not caller.is_admin:
        raise PermissionDeniedError(
            "Only an admin key may change what is served: one of the setting admin_keys, or one with admin = true in "
            "the key file."
        )
    return caller
