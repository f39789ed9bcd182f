"""The process that serves: uvicorn around the app, from signals to the exit code."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from types import FrameType

import uvicorn

from qwenvl.api.app import create_app
from qwenvl.api.settings import Settings
from qwenvl.engine import Engine
from qwenvl.errors import QwenVLError

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(engine: Engine, settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM, or until the engine dies.

    Returns:
        The process's exit code: 0 where it was asked to stop, 1 where it could not start or the engine died.
    """
    try:
        listener = _bind(settings.host, settings.port)
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror or error)
        return EXIT_FAILED
    with listener:
        server = _Server(engine, settings, listener)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            return runner.run(_serve(server, engine))


class _Server(uvicorn.Server):
    """uvicorn, with the app's lifespan in :func:`_serve`, where the engine's errors can be told in a line."""

    def __init__(self, engine: Engine, settings: Settings, listener: socket.socket) -> None:
        self.app = create_app(engine, settings)
        self._engine = engine
        self.listener = listener
        super().__init__(
            uvicorn.Config(
                self.app,
                lifespan="off",
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=ceil(settings.drain_timeout),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            logger.info("serving %s on %s/v1", self._engine.info.names[0], _base_url(self.listener))


async def _serve(server: _Server, engine: Engine) -> int:
    try:
        with _stop_signals(server):
            async with server.app.router.lifespan_context(server.app):
                return await _serve_until_dead(server, engine)
    except QwenVLError as error:
        logger.error("%s", error)
        return EXIT_FAILED
    except asyncio.CancelledError:
        logger.info("stopped before the engine was up")
        return EXIT_OK


async def _serve_until_dead(server: _Server, engine: Engine) -> int:
    async def exit_when_dead() -> None:
        await engine.wait_dead()
        logger.error("the engine died; stopping")
        server.should_exit = True

    watcher = asyncio.create_task(exit_when_dead())
    try:
        await server.serve([server.listener])
        return EXIT_FAILED if watcher.done() else EXIT_OK
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


@contextmanager
def _stop_signals(server: uvicorn.Server) -> Iterator[None]:
    """A signal while the engine starts cancels the start. Later ones are uvicorn's.

    uvicorn raises its signals once more when it has stopped; with the default handlers that would end the process
    before its exit code is known.
    """
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert task is not None

    def stop(signum: int, frame: FrameType | None) -> None:
        if not server.started:
            loop.call_soon_threadsafe(task.cancel)

    with _handlers(stop):
        yield


@contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {signum: signal.signal(signum, handler) for signum in _STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, old in previous.items():
            signal.signal(signum, old)


def _bind(host: str, port: int) -> socket.socket:
    """Take the port before the engine loads for minutes; connections are refused until uvicorn listens."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
