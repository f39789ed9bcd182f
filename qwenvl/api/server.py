"""The process that serves: uvicorn around the app, from signals to the exit code."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import ceil
from types import FrameType

import uvicorn

from qwenvl.api.app import create_app
from qwenvl.api.connections import LimitedConnection, WithoutHeaders
from qwenvl.api.lifecycle import Lifecycle
from qwenvl.api.settings import Settings
from qwenvl.engine import Engine
from qwenvl.errors import QwenVLError

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

DEAD_SECONDS = 3.0
"""Time for the responses to requests that lost their engine, before those still open are cut off."""

LAST_WORDS_SECONDS = 1.0
"""Time for what is cut off to tell its client."""

YOUNG_OBJECTS = (1_000, 10)
"""New objects after which the collector looks at them, and how many times before it looks at their elders too."""

NEVER = 2**31 - 1

COLLECT_SECONDS = 60.0

UNREAD_MILLISECONDS = 60_000
"""Time after which the system drops a connection whose other end takes nothing off it."""


def run(engine: Engine, settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM, or until the engine dies.

    Returns:
        The process's exit code: 0 where it was asked to stop, 1 where it could not start or the engine died.
    """
    try:
        listener = _bind(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        logger.error("%s", _cannot_listen(settings, error))
        return EXIT_FAILED
    with listener:
        try:
            server = _Server(engine, settings, listener)
        except QwenVLError as error:
            logger.error("%s", error)
            return EXIT_FAILED
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            return runner.run(_serve(server, engine))


class _Server(uvicorn.Server):
    """uvicorn, with the app's lifespan in :func:`_serve`, where the engine's errors can be told in a line.

    It stops in steps. A signal makes ``/ready`` fail and has clients close their connections; SIGTERM leaves them
    ``drain_delay`` seconds to notice, while requests are still taken. Then the listener closes, and what is in work has
    ``drain_timeout`` seconds. Then, or at a second signal, the rest is cut off, with an error as its last word.
    """

    def __init__(self, engine: Engine, settings: Settings, listener: socket.socket) -> None:
        self.app = create_app(engine, settings)
        self._engine = engine
        self._lifecycle: Lifecycle = self.app.state.lifecycle
        self._settings = settings
        self._without_headers = WithoutHeaders(settings.body_timeout)
        self.listener = listener
        super().__init__(
            uvicorn.Config(
                self.app,
                http=LimitedConnection,
                # Nothing here speaks it, and its connections are none that can be waited for or dropped.
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=ceil(settings.drain_timeout),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen.

        Raises:
            QwenVLError: another server does so by now, which had the port too while neither of them listened.
        """
        try:
            self.listener.listen(self.config.backlog)
        except OSError as error:
            raise QwenVLError(_cannot_listen(self._settings, error)) from error
        await super().startup(sockets)
        if self.started:
            logger.info("serving %s on %s/v1", self._engine.info.names[0], _base_url(self.listener))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop at the first signal, and end at the second."""
        asyncio.get_running_loop().call_soon_threadsafe(self._stop, sig)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to stop."""
        if counter % 10 == 0:
            self._without_headers.drop(self.server_state.connections)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for what is in work as long as it may take."""
        await super().shutdown(sockets)
        if cut_off := list(self.server_state.tasks):
            await asyncio.wait(cut_off, timeout=LAST_WORDS_SECONDS)

    def cut_off(self) -> None:
        """End what is still in work, and soon after every connection that is left."""
        self.should_exit = self.force_exit = True
        for task in list(self.server_state.tasks):
            task.cancel()
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._drop_connections)

    def _stop(self, sig: int) -> None:
        if self._lifecycle.draining:
            logger.warning("told to stop again: ending %d requests", len(self.server_state.tasks))
            self.cut_off()
            return
        self._lifecycle.draining = True
        # Who asks by Ctrl-C sits before it; a supervisor's proxies need time to look elsewhere.
        delay = self._settings.drain_delay if sig == signal.SIGTERM else 0.0
        logger.info("stopping: %d requests in work, listening for another %g s", len(self.server_state.tasks), delay)
        asyncio.get_running_loop().call_later(delay, self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True

    def _drop_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


async def _serve(server: _Server, engine: Engine) -> int:
    exit_code = EXIT_OK
    try:
        with _stop_signals():
            async with server.app.router.lifespan_context(server.app):
                exit_code = await _serve_until_dead(server, engine)
        return exit_code
    except QwenVLError as error:
        logger.error("%s", error)
        return EXIT_FAILED
    except asyncio.CancelledError:
        if not server.started:
            logger.info("stopped before the engine was up")
        return exit_code


async def _serve_until_dead(server: _Server, engine: Engine) -> int:
    async def exit_when_dead() -> None:
        await engine.wait_dead()
        logger.error("the engine died; stopping")
        server.should_exit = True
        await asyncio.sleep(DEAD_SECONDS)
        server.cut_off()

    watcher = asyncio.create_task(exit_when_dead())
    try:
        async with _collecting_rarely():
            await server.serve([server.listener])
        return EXIT_OK if engine.is_alive else EXIT_FAILED
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


@asynccontextmanager
async def _collecting_rarely() -> AsyncIterator[None]:
    """Have the garbage collector look at what is young, and at everything once a minute.

    Left to itself it goes through all there is many times a minute, and no stream moves meanwhile: with vLLM and torch
    imported that is over a million objects and a second or two, and with 500 requests in work another hundred thousand
    and 0.2 s. It finds little: almost all that requests leave behind goes away without it.
    """
    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(*YOUNG_OBJECTS, NEVER)
    collecting = asyncio.create_task(_collect_all(), name="garbage-collection")
    try:
        yield
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def _collect_all() -> None:
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()


@contextmanager
def _stop_signals() -> Iterator[None]:
    """A signal while the engine starts cancels the start, one while it stops the wait. uvicorn has those between."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    assert task is not None

    def stop(signum: int, frame: FrameType | None) -> None:
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
        # Connections inherit it. Only Linux has it.
        if (unread := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, unread, UNREAD_MILLISECONDS)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _cannot_listen(settings: Settings, error: OSError | UnicodeError) -> str:
    # A host that is no host name at all is a UnicodeError.
    reason = error.strerror if isinstance(error, OSError) else "not a host name"
    return f"cannot listen on {settings.host} port {settings.port}: {reason or error}"


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
