"""Query strings of lists."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from qwenvl.api.validation import explain

QueryT = TypeVar("QueryT", bound=BaseModel)


def read_query(request: Request, model: type[QueryT]) -> QueryT:
    """Read the query string.

    Raises:
        UserError: a value is not what ``model`` wants.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise explain(error) from None


def describe_query(model: type[BaseModel]) -> dict[str, Any]:
    """The parameters for ``/openapi.json``. FastAPI does not see them: its own errors are not OpenAI's."""
    schema = model.model_json_schema()
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": {**described, "title": name}}
            for name, described in schema["properties"].items()
        ]
    }
