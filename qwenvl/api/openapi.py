"""``/openapi.json``: what FastAPI cannot see, since the routes read their bodies and write their errors themselves."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from qwenvl.api.errors import ErrorResponse

OPEN_PATHS = ("/health", "/ready")
"""Paths that need no key."""

_ERRORS = {
    "400": "A field is wrong; param names it.",
    "401": "The API key is missing or wrong.",
    "403": "The API key may not do this.",
    "404": "What the path, the query or the model field names is not there.",
    "408": "The body took too long to arrive.",
    "413": "The body is too large.",
    "415": "The body is not of the media type that the route takes.",
    "429": "A limit of the key is reached; Retry-After says when to come back.",
    "500": "The server failed.",
    "503": "The server is full, not ready, or its engine has stopped.",
}
_OF_BODIES = ("408", "413", "415")


def request_body(path: str, model: type[BaseModel]) -> dict[str, Any]:
    """``requestBody`` of a route that reads ``model`` from JSON by itself.

    Args:
        path: of the route, for references into the schema.
        model: the wire type.
    """
    here = f"#/paths/{path.replace('/', '~1')}/post/requestBody/content/application~1json/schema/$defs/{{model}}"
    schema = model.model_json_schema(ref_template=here)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def install(app: FastAPI) -> None:
    """Describe ``app``'s errors as they are: an error object, and never FastAPI's own 422."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(get_openapi(title=app.title, version=app.version, routes=app.routes))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    error = ErrorResponse.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**error.pop("$defs"), "ErrorResponse": error}
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, method, operation in _operations(schema):
        operation["responses"].pop("422", None)
        for status in _statuses(path, method):
            operation["responses"].setdefault(status, _error(_ERRORS[status]))
        if "stream" in _json_body(operation).get("properties", {}):
            operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
        if path not in OPEN_PATHS:
            operation["security"] = [{"key": []}, {}]
    return schema


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _statuses(path: str, method: str) -> Iterator[str]:
    """Statuses of errors that an operation may answer with."""
    for status in _ERRORS:
        if path in OPEN_PATHS and status not in ("500", "503"):
            continue
        if status in _OF_BODIES and method not in ("post", "put", "patch"):
            continue
        yield status


def _json_body(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    schema: dict[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _error(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    return {"description": description, "content": content}
