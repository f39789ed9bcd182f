"""A real uvicorn in a thread, and a real little web server to fetch images from."""

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import uvicorn

from qwenvl.api import Settings, create_app
from qwenvl.engine import Engine

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which something that should happen counts as not happening."""


@asynccontextmanager
async def in_process(engine: Engine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app without a socket, its lifespan run."""
    app = create_app(engine, settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http


class LiveServer:
    def __init__(self, engine: Engine, settings: Settings, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._started = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = _Announcing(
            uvicorn.Config(create_app(engine, settings), log_config=None, timeout_graceful_shutdown=2), self._started
        )
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(self._patience)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join(self._patience)
        self._listener.close()
        assert not self._thread.is_alive()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(self._patience)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(callback)

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve([self._listener])

        asyncio.run(serve())


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: threading.Event) -> None:
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce.set()


class Pictures:
    """Serves files of a folder, and some misbehaviour: see :meth:`_answer`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hosts: list[str] = []
        self.paths: list[str] = []
        self.asked = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            self.paths.append(path)
            self.asked.set()
            self.hosts += [line.partition(": ")[2] for line in head if line.lower().startswith("host:")]
            await self._answer(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        name, _, rest = path.removeprefix("/").partition("/")
        if name == "redirect":
            _write_head(writer, "302 Found", f"Location: {rest}")
        elif name == "hops":
            left = int(rest)
            _write_head(writer, "302 Found", f"Location: {'/a.png' if left == 1 else f'/hops/{left - 1}'}")
        elif name == "endless":
            _write_head(writer, "200 OK")
            while True:
                writer.write(b"\0" * 65536)
                await writer.drain()
        elif name == "announced":
            _write_head(writer, "200 OK", f"Content-Length: {rest}")
        elif name == "silent":
            await asyncio.Event().wait()
        elif name == "garbage":
            writer.write(b"this is not HTTP\r\n\r\n")
        elif (file := self._folder / name).is_file():
            content = file.read_bytes()
            _write_head(writer, "200 OK", f"Content-Length: {len(content)}")
            writer.write(content)
        else:
            _write_head(writer, "404 Not Found", "Content-Length: 0")
        await writer.drain()


def _write_head(writer: asyncio.StreamWriter, status: str, *fields: str) -> None:
    writer.write("\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *fields, "", ""]).encode("latin-1"))


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
