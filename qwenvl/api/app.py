"""The app factory."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from qwenvl import __version__
from qwenvl.api import errors
from qwenvl.api.access.admission import Admission
from qwenvl.api.access.limits import RateLimits
from qwenvl.api.chat.routes import ChatCompletions, chat_routes
from qwenvl.api.gateway import Gateway
from qwenvl.api.media.loader import ImageLoader
from qwenvl.api.middleware import Authentication, BodyLimit, RequestBoundary
from qwenvl.api.routes.models import models_routes
from qwenvl.api.routes.operations import operations_routes
from qwenvl.api.settings import Settings
from qwenvl.api.sse import let_streams_finish
from qwenvl.api.telemetry.metrics import Metrics
from qwenvl.engine import Engine

logger = logging.getLogger(__name__)


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The API in front of ``engine``, which starts and stops with the app's lifespan."""
    let_streams_finish()
    images = ImageLoader(settings)
    gateway = Gateway(engine, settings, images, Admission(), RateLimits(), Metrics())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aclosing(images), engine_running(engine, settings.drain_timeout):
            yield

    app = FastAPI(
        title="qwenvl",
        version=__version__,
        lifespan=lifespan,
        # Both pages load scripts from a public CDN.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestBoundary),
            Middleware(Authentication, api_keys=settings.api_keys),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    errors.install(app)
    app.include_router(chat_routes(ChatCompletions(gateway)))
    app.include_router(models_routes(engine))
    app.include_router(operations_routes(engine))
    return app


@asynccontextmanager
async def engine_running(engine: Engine, drain_timeout: float) -> AsyncIterator[None]:
    """Start the engine; at the end let running requests finish, for ``drain_timeout`` seconds, and stop it."""
    try:
        await engine.start()
        yield
        if engine.is_alive and not await engine.drain(drain_timeout):
            logger.warning("%d requests did not finish within %g s", engine.in_flight, drain_timeout)
    finally:
        await engine.stop()
