"""Any server that speaks OpenAI's chat completions."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from json import JSONDecodeError, loads
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from qwenvl.chat import Image, Message, Part, Text
from qwenvl.errors import ContextLengthError, QwenVLError
from qwenvl.terminal.backend import BackendError, Chunk, Sampling
from qwenvl.terminal.pictures import Picture

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 600.0
"""Longest that a server may say nothing: a busy one queues. OpenAI's own clients wait as long."""

_DONE = "[DONE]"


class Server:
    """Implements :class:`qwenvl.terminal.backend.Backend`.

    Args:
        base_url: as OpenAI's clients take it; ``http://`` and ``/v1`` are added where a bare host is given.
        api_key: sent as a bearer token.
        model: None is the first that the server lists.
    """

    def __init__(self, base_url: str, api_key: str | None = None, model: str | None = None) -> None:
        self._base_url = complete_url(base_url)
        self._model = model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout)

    @property
    def name(self) -> str:
        """The model, and the server it is on."""
        return f"{self._model} on {self._base_url}"

    async def start(self) -> None:
        """Ask for the models, unless one is named."""
        if self._model is None:
            async with self._explained():
                response = await self._http.get(f"{self._base_url}/models")
                await _raise_for_status(response)
                self._model = _first_model(response)

    async def answer(self, messages: Sequence[Message[Picture]], sampling: Sampling) -> AsyncGenerator[Chunk]:
        """Stream an answer; closing the iterator closes the connection, which is how a server learns of it."""
        given = {name: value for name, value in asdict(sampling).items() if value is not None}
        body = {"model": self._model, "messages": [_wire(message) for message in messages], "stream": True, **given}
        async with self._explained(), self._http.stream("POST", f"{self._base_url}/chat/completions", json=body) as it:
            await _raise_for_status(it)
            async for event in EventSource(it).aiter_sse():
                if event.data.strip() == _DONE:
                    return
                yield _read_chunk(event)
        raise BackendError("the server ended the answer before it was whole")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise BackendError(f"cannot reach {self._base_url}: {error or type(error).__name__}") from error
        except httpx.TimeoutException as error:
            raise BackendError(f"{self._base_url} said nothing for {SILENT_SECONDS:g} s") from error
        except SSEError as error:
            raise BackendError(f"{self._base_url} answered with something else than a stream") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BackendError(f"{self._base_url}: {error or type(error).__name__}") from error


def complete_url(base_url: str) -> str:
    """The base URL that is meant: ``localhost:8000`` is ``http://localhost:8000/v1``.

    Raises:
        ValueError: it is no http or https URL.
    """
    try:
        url = httpx.URL(base_url if "://" in base_url else f"http://{base_url}")
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url} is no http or https URL")
    return str(url.copy_with(path="/v1") if url.path == "/" else url).rstrip("/")


def _wire(message: Message[Picture]) -> dict[str, Any]:
    if all(isinstance(part, Text) for part in message.parts):
        return {"role": message.role, "content": "".join(part.text for part in message.parts if isinstance(part, Text))}
    return {"role": message.role, "content": [_wire_part(part) for part in message.parts]}


def _wire_part(part: Part[Picture]) -> dict[str, Any]:
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.image.url}}
    return {"type": "text", "text": part.text}


def _first_model(response: httpx.Response) -> str:
    try:
        return str(response.json()["data"][0]["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise BackendError(f"{response.url} lists no models; is this the server's base URL?") from error


def _read_chunk(event: ServerSentEvent) -> Chunk:
    try:
        data = loads(event.data)
    except JSONDecodeError as error:
        raise BackendError(f"the server sent something else than JSON: {event.data[:80]!r}") from error
    if not isinstance(data, Mapping) or data.get("error") is not None:
        raise _error(data, "the server ended the answer with an error")
    try:
        # The chunk that has the usage alone has no choices.
        choice = data["choices"][0] if data["choices"] else {"delta": {}}
        return Chunk(str(choice["delta"].get("content") or ""), choice.get("finish_reason") == "length")
    except (LookupError, TypeError, AttributeError) as error:
        raise BackendError(f"the server sent what is no chunk of an answer: {event.data[:80]!r}") from error


async def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    otherwise = f"{response.url} answered {response.status_code} {response.reason_phrase}"
    try:
        body = loads(await response.aread())
    except ValueError:
        raise BackendError(otherwise) from None
    raise _error(body, otherwise)


def _error(body: Any, otherwise: str) -> QwenVLError:
    """What OpenAI's error object says, in any of the forms that servers give it."""
    found = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(found, str):
        return BackendError(found)
    if not isinstance(found, Mapping):
        return BackendError(otherwise)
    message = str(found.get("message") or found.get("detail") or otherwise)
    # vLLM's own server names no code.
    if found.get("code") == "context_length_exceeded" or "maximum context length" in message:
        return ContextLengthError(message)
    return BackendError(message)
