"""Which models are served."""

from fastapi import APIRouter

from qwenvl.api.chat.objects import ModelCard, ModelList
from qwenvl.api.telemetry.record import note_model
from qwenvl.engine import Engine
from qwenvl.errors import ModelNotFoundError

_SHOWN = 20


def models_routes(engine: Engine) -> APIRouter:
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("")
    async def list_models() -> ModelList:
        """The model, its aliases and its adapters."""
        names = [*engine.info.names, *engine.adapters]
        return ModelList(object="list", data=[_card(name, engine) for name in names])

    @router.get("/{name:path}")
    async def retrieve_model(name: str) -> ModelCard:
        """One of them; names may hold slashes."""
        check_served(name, engine)
        return _card(name, engine)

    return router


def check_served(name: str, engine: Engine) -> None:
    """Raise unless the model, an alias or an adapter has this name.

    Raises:
        ModelNotFoundError: none has.
    """
    note_model(name)
    served = [*engine.info.names, *engine.adapters]
    if name not in served:
        shown = name if len(name) <= 100 else name[:100] + "..."
        listed = ", ".join(served[:_SHOWN]) + (", ..." if len(served) > _SHOWN else "")
        raise ModelNotFoundError(f"The model {shown!r} does not exist here. Served: {listed}.")


def _card(name: str, engine: Engine) -> ModelCard:
    info, adapter = engine.info, engine.adapters.get(name)
    return ModelCard(
        id=name,
        object="model",
        created=adapter.created if adapter else info.created,
        owned_by="qwenvl",
        # vLLM shows the adapter's folder, which is nobody's business.
        root=info.names[0],
        parent=info.names[0] if adapter else None,
        max_model_len=info.max_model_len,
    )
