"""Which models are served."""

from fastapi import APIRouter

from qwenvl.api.chat.objects import ModelCard, ModelList
from qwenvl.api.telemetry.record import note_model
from qwenvl.engine import Engine, ModelInfo
from qwenvl.errors import ModelNotFoundError


def models_routes(engine: Engine) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("")
    async def list_models() -> ModelList:
        """The model and its aliases."""
        info = engine.info
        return ModelList(object="list", data=[_card(name, info) for name in info.names])

    @router.get("/{name:path}")
    async def retrieve_model(name: str) -> ModelCard:
        """One of them; names may hold slashes."""
        check_served(name, engine.info)
        return _card(name, engine.info)

    return router


def check_served(name: str, info: ModelInfo) -> None:
    """Raise unless the model or an alias has this name.

    Raises:
        ModelNotFoundError: none has.
    """
    note_model(name)
    if name not in info.names:
        shown = name if len(name) <= 100 else name[:100] + "..."
        raise ModelNotFoundError(f"The model {shown!r} does not exist here. Served: {', '.join(info.names)}.")


def _card(name: str, info: ModelInfo) -> ModelCard:
    return ModelCard(
        id=name,
        object="model",
        created=info.created,
        owned_by="qwenvl",
        root=info.names[0],
        max_model_len=info.max_model_len,
    )
