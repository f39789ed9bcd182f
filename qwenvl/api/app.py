"""The app factory."""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from qwenvl import __version__
from qwenvl.api import errors, openapi
from qwenvl.api.access.admission import Admission
from qwenvl.api.access.key_file import read_key_file
from qwenvl.api.access.keys import KeyFileError, Keyring
from qwenvl.api.access.limits import RateLimits
from qwenvl.api.batches.batch_routes import batch_routes
from qwenvl.api.batches.file_routes import PATH as FILES
from qwenvl.api.batches.file_routes import file_routes
from qwenvl.api.batches.service import Batches
from qwenvl.api.chat.routes import ChatCompletions, chat_routes
from qwenvl.api.completions.routes import Completions, completions_routes
from qwenvl.api.cross_origin import cross_origin
from qwenvl.api.gateway import Gateway
from qwenvl.api.grounding.operation import GroundingSearch
from qwenvl.api.grounding.routes import grounding_routes
from qwenvl.api.lifecycle import Lifecycle
from qwenvl.api.media.loader import ImageLoader
from qwenvl.api.middleware import Authentication, BodyLimit, RequestBoundary, RequestLimits, Turns
from qwenvl.api.responses.operation import Responses
from qwenvl.api.responses.routes import responses_routes
from qwenvl.api.responses.store import ResponseStore
from qwenvl.api.routes.adapters import adapter_routes
from qwenvl.api.routes.models import models_routes
from qwenvl.api.routes.operations import operations_routes
from qwenvl.api.routes.tokenize import tokenize_routes
from qwenvl.api.settings import Settings
from qwenvl.api.sse import let_streams_finish
from qwenvl.api.telemetry.images import ObservedImages
from qwenvl.api.telemetry.loop_lag import loop_lag_measured
from qwenvl.api.telemetry.metrics import Metrics
from qwenvl.api.telemetry.middleware import Telemetry
from qwenvl.api.telemetry.tracing import Tracing
from qwenvl.api.web.assets import Page, read_page
from qwenvl.api.web.routes import web_routes
from qwenvl.engine import Engine

logger = logging.getLogger(__name__)


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The API in front of ``engine``, which starts and stops with the app's lifespan.

    Its ``state.lifecycle`` is for the process to say that it is about to stop.

    Raises:
        KeyFileError: the file of keys is wrong.
    """
    let_streams_finish()
    images = ImageLoader(settings)
    lifecycle = Lifecycle(engine)
    admission = Admission(
        max_running=settings.max_running, max_queued=settings.max_queued, queue_timeout=settings.queue_timeout
    )
    limits = RateLimits()
    metrics = Metrics(engine, admission)
    tracing = Tracing(settings.otlp_endpoint)
    gateway = Gateway(engine, settings, ObservedImages(images, metrics), admission, limits, metrics)
    chat = ChatCompletions(gateway)
    completions = Completions(gateway)
    stored_responses = ResponseStore(settings.max_stored_responses)
    responses = Responses(gateway, stored_responses)
    batches = Batches(gateway, (chat, completions, responses))
    page = read_page() if settings.web else Page({})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            tracing.running(),
            aclosing(images),
            engine_running(engine, settings.drain_timeout),
            loop_lag_measured(metrics.lagged),
            batches.running(),
        ):
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
            Middleware(Telemetry, metrics=metrics, tracing=tracing),
            Middleware(RequestBoundary, lifecycle=lifecycle),
            *cross_origin(settings.cors_origins),
            Middleware(Authentication, keyring=keyring_of(settings), pages=page.paths),
            Middleware(RequestLimits, limits=limits),
            Middleware(
                BodyLimit,
                max_bytes=settings.max_body_bytes,
                timeout=settings.body_timeout,
                uploads=frozenset({FILES}),
                pages=page.paths,
            ),
            Middleware(Turns),
        ],
    )
    app.state.lifecycle = lifecycle
    errors.install(app)
    openapi.install(app)
    app.include_router(chat_routes(chat))
    app.include_router(responses_routes(responses, stored_responses))
    app.include_router(file_routes(batches))
    app.include_router(batch_routes(batches))
    app.include_router(completions_routes(completions))
    app.include_router(grounding_routes(GroundingSearch(gateway)))
    app.include_router(tokenize_routes(gateway))
    app.include_router(models_routes(engine))
    app.include_router(adapter_routes(engine, settings.lora_dir))
    app.include_router(operations_routes(engine, metrics, lifecycle))
    if settings.web:
        app.include_router(web_routes(page))
    return app


def keyring_of(settings: Settings) -> Keyring:
    """All keys there are.

    Raises:
        KeyFileError: their file cannot be read, a key is there twice, or adapters could be loaded by nobody.
    """
    named = read_key_file(settings.api_key_file, settings.key_limits) if settings.api_key_file else {}
    keyring = Keyring(settings.api_keys, named, settings.key_limits, settings.admin_keys)
    if settings.lora_dir is not None and not keyring.has_admin:
        raise KeyFileError(
            "--lora-dir needs somebody who may load adapters from it: give an --admin-key, or a key of the key file "
            "admin = true"
        )
    return keyring


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
