"""``/v1/batches``."""

from typing import Any

from fastapi import APIRouter, Request

from qwenvl.api.batches.objects import Batch, BatchList
from qwenvl.api.batches.schemas import BatchesQuery, CreateBatch
from qwenvl.api.batches.service import Batches
from qwenvl.api.context import context_of
from qwenvl.api.errors import ErrorResponse
from qwenvl.api.openapi import request_body
from qwenvl.api.queries import describe_query, read_query
from qwenvl.api.validation import parse_body
from qwenvl.errors import UserError

PATH = "/v1/batches"


def batch_routes(batches: Batches) -> APIRouter:
    router = APIRouter(prefix=PATH, tags=["batches"])

    @router.post("", openapi_extra={"requestBody": _describe_body(batches)})
    async def create_batch(request: Request) -> Batch:
        """Have all requests of a file answered, when there is room."""
        wire = await parse_body(request, CreateBatch)
        if wire.endpoint not in batches.operations:
            endpoints = ", ".join(batches.operations)
            raise UserError(f"endpoint must be one of {endpoints}.", param="endpoint", code="invalid_value")
        opened = await batches.opened()
        batch = await opened.table.create(context_of(request).caller.name, wire)
        opened.runner.start(batch.id)
        return batch

    @router.get("", openapi_extra=describe_query(BatchesQuery))
    async def list_batches(request: Request) -> BatchList:
        """The batches there are, the newest first."""
        table = (await batches.opened()).table
        found, has_more = await table.page(context_of(request).caller.name, read_query(request, BatchesQuery))
        first, last = (found[0].id, found[-1].id) if found else (None, None)
        return BatchList(data=found, first_id=first, last_id=last, has_more=has_more)

    @router.get("/{batch_id}")
    async def retrieve_batch(batch_id: str, request: Request) -> Batch:
        """How far a batch has come."""
        return await (await batches.opened()).table.get(context_of(request).caller.name, batch_id)

    @router.post("/{batch_id}/cancel", responses={409: {"model": ErrorResponse, "description": "The batch has ended."}})
    async def cancel_batch(batch_id: str, request: Request) -> Batch:
        """End a batch. What has an answer by now keeps it."""
        opened = await batches.opened()
        batch, changed = await opened.table.cancel(context_of(request).caller.name, batch_id)
        if changed:
            await opened.runner.restart(batch_id)
        return batch

    return router


def _describe_body(batches: Batches) -> dict[str, Any]:
    body = request_body(PATH, CreateBatch)
    # Which endpoints there are is for the app to say.
    body["content"]["application/json"]["schema"]["properties"]["endpoint"]["enum"] = list(batches.operations)
    return body
