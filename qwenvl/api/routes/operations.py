"""Routes for whoever runs the server; no key needed."""

from fastapi import APIRouter

from qwenvl.api.chat.objects import Health
from qwenvl.engine import Engine
from qwenvl.errors import EngineDeadError


def operations_routes(engine: Engine) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health")
    async def health() -> Health:
        """200 while the engine runs, else 503."""
        if not engine.is_alive:
            raise EngineDeadError("the engine does not run")
        return Health(status="ok")

    @router.get("/version")
    async def version() -> dict[str, str]:
        """Versions of the server's parts."""
        return dict(engine.info.versions)

    return router
