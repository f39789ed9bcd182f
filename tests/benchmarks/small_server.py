"""A chat-completions server of a few lines, for the load generator to load: real HTTP on loopback, no model."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse


class SmallServer:
    """Counts what it is asked; answers ``max_tokens`` words, the n-th request of ``fails`` with an error.

    A prompt has 20 tokens and one more a word; a picture has 256.
    """

    def __init__(self, model: str = "small", fails: frozenset[int] = frozenset()) -> None:
        self.model = model
        self.fails = fails
        self.bodies: list[dict[str, Any]] = []
        self.authorization: set[str | None] = set()
        self.in_flight = 0
        self.most_in_flight = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        async def models() -> dict[str, Any]:
            return {"data": [{"id": self.model}]}

        @app.get("/version")
        async def version() -> dict[str, str]:
            return {"small": "1.0"}

        @app.post("/v1/chat/completions", response_model=None)
        async def chat(request: Request) -> JSONResponse | StreamingResponse:
            body = await request.json()
            self.bodies.append(body)
            self.authorization.add(request.headers.get("authorization"))
            if len(self.bodies) in self.fails:
                return JSONResponse({"error": {"message": "overloaded"}}, status_code=429)
            usage = {"prompt_tokens": count_tokens(body), "completion_tokens": body["max_tokens"]}
            if body.get("stream"):
                return StreamingResponse(self.stream(body["max_tokens"], usage), media_type="text/event-stream")
            return JSONResponse({"choices": [{"message": {"content": "word"}}], "usage": usage})

        return app

    async def stream(self, max_tokens: int, usage: dict[str, int]) -> AsyncIterator[str]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        yield event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for _ in range(max_tokens):
            await asyncio.sleep(0)
            yield event({"choices": [{"delta": {"content": "word "}}]})
        yield event({"choices": [], "usage": usage})
        yield "data: [DONE]\n\n"
        self.in_flight -= 1


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def count_tokens(body: dict[str, Any]) -> int:
    parts = body["messages"][0]["content"]
    return 20 + sum(256 if part["type"] == "image_url" else len(part["text"].split()) for part in parts)


@contextmanager
def serving(server: SmallServer) -> Iterator[str]:
    """Run it in a thread on a free port; gives its base URL."""
    uvicorn_server = uvicorn.Server(uvicorn.Config(server.app(), port=0, log_level="error", lifespan="off"))
    ready = threading.Event()

    async def run() -> None:
        config = uvicorn_server.config
        config.load()
        uvicorn_server.lifespan = config.lifespan_class(config)
        await uvicorn_server.startup()
        ready.set()
        await uvicorn_server.main_loop()
        await uvicorn_server.shutdown()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(10)
    port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        uvicorn_server.should_exit = True
        thread.join(10)
