"""``/v1/responses`` and what lies below."""

from fastapi import APIRouter, Request
from fastapi.responses import Response as HTTPResponse

from qwenvl.api.context import context_of
from qwenvl.api.openapi import request_body
from qwenvl.api.operation import respond
from qwenvl.api.queries import describe_query, read_query
from qwenvl.api.responses.objects import DeletedResponse, ItemList, Response
from qwenvl.api.responses.operation import PATH, Responses
from qwenvl.api.responses.schemas import CreateResponseRequest, ItemsQuery, RetrieveQuery
from qwenvl.api.responses.store import ResponseNotFoundError, ResponseStore, StoredItem, StoredResponse
from qwenvl.api.validation import shorten
from qwenvl.errors import UserError


def responses_routes(responses: Responses, store: ResponseStore) -> APIRouter:
    router = APIRouter(prefix=PATH, tags=["responses"])

    @router.post("", response_model=Response, openapi_extra={"requestBody": request_body(PATH, CreateResponseRequest)})
    async def create_response(request: Request) -> HTTPResponse:
        """Answer a conversation, at once or as server-sent events."""
        return await respond(request, responses)

    @router.get("/{response_id}", response_model=Response, openapi_extra=describe_query(RetrieveQuery))
    async def retrieve_response(response_id: str, request: Request) -> HTTPResponse:
        """A stored response."""
        found = _find(request, response_id)
        if read_query(request, RetrieveQuery).stream:
            raise UserError(
                "stream is not supported for stored responses. Leave it out.",
                param="stream",
                code="unsupported_parameter",
            )
        return HTTPResponse(found.body, media_type="application/json")

    @router.delete("/{response_id}")
    async def delete_response(response_id: str, request: Request) -> DeletedResponse:
        """Forget a response. Those that went on from it keep what it said."""
        store.delete(context_of(request).caller.name, response_id)
        return DeletedResponse(id=response_id, object="response", deleted=True)

    @router.post("/{response_id}/cancel")
    async def cancel_response(response_id: str, request: Request) -> Response:
        """Refused: what could be cancelled runs in the background, and nothing does here."""
        _find(request, response_id)
        raise UserError("Cannot cancel a synchronous response. To end one, close its connection.")

    @router.get(
        "/{response_id}/input_items", openapi_extra=describe_query(ItemsQuery), response_model_exclude_unset=True
    )
    async def list_input_items(response_id: str, request: Request) -> ItemList:
        """What a stored response answered: its input, and before it what it went on from."""
        found = _find(request, response_id)
        return _page(found.input, read_query(request, ItemsQuery))

    def _find(request: Request, response_id: str) -> StoredResponse:
        found = store.find(context_of(request).caller.name, response_id)
        if found is None:
            raise ResponseNotFoundError(response_id)
        return found

    return router


def _page(stored: tuple[StoredItem, ...], query: ItemsQuery) -> ItemList:
    items = [entry.item for entry in (stored if query.order == "asc" else reversed(stored))]
    if query.after is not None:
        places = [i for i, item in enumerate(items) if item.id == query.after]
        if not places:
            raise UserError(
                f"after: there is no item with id {shorten(query.after)}.", param="after", code="invalid_value"
            )
        items = items[places[0] + 1 :]
    shown = items[: query.limit]
    first, last = (shown[0].id, shown[-1].id) if shown else ("", "")
    return ItemList(object="list", data=shown, first_id=first, last_id=last, has_more=len(items) > len(shown))
