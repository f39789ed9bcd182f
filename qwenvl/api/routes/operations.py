"""Routes for whoever runs the server. The health checks need no key."""

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from qwenvl.api.chat.objects import Health
from qwenvl.api.lifecycle import Lifecycle
from qwenvl.api.telemetry.metrics import CONTENT_TYPE, Metrics
from qwenvl.engine import Engine


def operations_routes(engine: Engine, metrics: Metrics, lifecycle: Lifecycle) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health")
    async def health() -> Health:
        """200 while the engine runs, else 503."""
        lifecycle.check_alive()
        return Health(status="ok")

    @router.get("/ready")
    async def ready() -> Health:
        """200 while new requests are welcome; 503 where the engine does not run or the server is about to stop."""
        lifecycle.check_ready()
        return Health(status="ok")

    @router.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """The gateway's metrics and the engine's, in Prometheus' text format."""
        return Response(await anyio.to_thread.run_sync(metrics.text), media_type=CONTENT_TYPE)

    @router.get("/version")
    async def version() -> dict[str, str]:
        """Versions of the server's parts."""
        return dict(engine.info.versions)

    return router
