"""The route of :class:`GroundingSearch`."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response

from qwenvl.api.context import context_of
from qwenvl.api.generation import while_connected
from qwenvl.api.grounding.objects import GroundingResponse
from qwenvl.api.grounding.operation import PATH, GroundingSearch
from qwenvl.api.grounding.schemas import GroundingRequest
from qwenvl.api.openapi import request_body
from qwenvl.api.validation import parse_body


def grounding_routes(search: GroundingSearch) -> APIRouter:
    router = APIRouter(tags=["grounding"])

    @router.post(
        PATH,
        response_model=GroundingResponse,
        openapi_extra={"requestBody": request_body(PATH, GroundingRequest)},
    )
    async def find(request: Request) -> Response:
        """Where in each picture is what each phrase names."""
        wire = await parse_body(request, GroundingRequest)
        search.check(wire)
        body = await while_connected(request.receive, search.answer(wire, context_of(request)))
        # Pictures in it make it large.
        written = await to_thread.run_sync(partial(body.model_dump_json, exclude_unset=True))
        return Response(written, media_type="application/json")

    return router
