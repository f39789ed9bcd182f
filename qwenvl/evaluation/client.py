"""A server with an OpenAI API: asked again where that can help, and told from one that is gone."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from qwenvl.errors import QwenVLError
from qwenvl.evaluation.tasks.reading import PLACEHOLDER

T = TypeVar("T")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_TOO_MANY_REQUESTS = 429


class AskError(QwenVLError):
    """There is no answer."""


class RefusedError(AskError):
    """The server does not take this request; it would not take it again either."""


class FailedError(AskError):
    """The server did not answer it, nor when asked again."""


class UnreachableError(FailedError):
    """There is no server."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask.

    Attributes:
        base_url: with ``/v1``.
        model: one of its models.
        retries: how often a request that failed is sent again.
        connections: most requests at a time.
    """

    base_url: str
    model: str
    api_key: str | None = None
    retries: int = 5
    connections: int = 32


class Client:
    """Requests to one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=server.connections, max_keepalive_connections=server.connections),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        await self._http.aclose()

    async def complete(self, prompt: str, images: Sequence[str], *, max_tokens: int | None, min_tokens: int = 0) -> str:
        """Go on with a prompt, greedily. ``images`` are data URLs, one for each ``<img></img>``.

        Raises:
            AskError: there is no answer.
        """
        body = {"prompt": prompt, "images": list(images), "temperature": 0}
        body |= {} if max_tokens is None else {"max_tokens": max_tokens}
        body |= {"min_tokens": min_tokens} if min_tokens else {}
        return await self._ask("completions", body, lambda answer: _string(answer["choices"][0]["text"]))

    async def chat(self, prompt: str, images: Sequence[str], **sampling: Any) -> str:
        """Answer one message: the prompt with a picture for each ``<img></img>``.

        Raises:
            AskError: there is no answer.
        """
        body = {"messages": [{"role": "user", "content": _parts(prompt, images)}], **sampling}
        return await self._ask(
            "chat/completions", body, lambda answer: _string(answer["choices"][0]["message"]["content"])
        )

    async def likelihoods(self, prompt: str, options: Sequence[str], images: Sequence[str]) -> list[float]:
        """The log-likelihood of each option after the prompt, from one request for all.

        Raises:
            AskError: there is no answer, or none with log probabilities of the prompt.
        """
        body = {
            "prompt": [prompt + option for option in options],
            "images": [image for _ in options for image in images],
            "max_tokens": 0,
            "temperature": 0,
            "echo": True,
            "logprobs": 0,
        }

        def read(answer: Any) -> list[float]:
            choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
            return [_likelihood(choice, option) for choice, option in zip(choices, options, strict=True)]

        return await self._ask("completions", body, read)

    async def _ask(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        for attempt in range(self._server.retries + 1):
            try:
                response = await self._post(path, {"model": self._server.model, **body})
                return _read(response, read)
            except FailedError as error:
                failure = error
                pause = _pause(error, attempt)
            if attempt < self._server.retries:
                await asyncio.sleep(pause)
        raise failure

    async def _post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        url = f"{self._server.base_url}/{path}"
        try:
            response = await self._http.post(url, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(f"cannot reach {url}: {error or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise FailedError(f"{url}: {error or type(error).__name__}") from error
        if response.is_success:
            return response
        message = f"{response.status_code}: {_explanation(response)}"
        if response.status_code >= 500 or response.status_code == _TOO_MANY_REQUESTS:
            failure = FailedError(message)
            failure.add_note(response.headers.get("retry-after", ""))
            raise failure
        raise RefusedError(message)


async def first_model(base_url: str, api_key: str | None = None) -> str:
    """The first model that a server lists.

    Raises:
        AskError: it cannot be reached, or lists none.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with httpx.AsyncClient(headers=headers, timeout=CONNECT_SECONDS) as http:
            response = await http.get(f"{base_url}/models")
            if not response.is_success:
                raise RefusedError(f"{base_url}/models: {response.status_code}: {_explanation(response)}")
            return str(response.json()["data"][0]["id"])
    except httpx.HTTPError as error:
        raise UnreachableError(f"cannot reach {base_url}: {error or type(error).__name__}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise RefusedError(f"{base_url} lists no models; is this the server's base URL?") from error


def _read(response: httpx.Response, read: Callable[[Any], T]) -> T:
    try:
        return read(response.json())
    except (ValueError, LookupError, TypeError) as error:
        raise FailedError(f"{response.url} answered with something else than was asked for") from error


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    # JSON can escape half a character, which no file takes.
    return value.encode("utf-8", "replace").decode("utf-8")


def _likelihood(choice: Any, option: str) -> float:
    """The sum over the option's tokens, which are those that begin where its text does, or after."""
    report = choice["logprobs"]
    start = len(choice["text"]) - len(option)
    pairs = zip(report["text_offset"], report["token_logprobs"], strict=True)
    found = [value for offset, value in pairs if offset >= start]
    if not found:
        raise ValueError("no token begins with the option")
    return float(sum(found))


def _parts(prompt: str, images: Sequence[str]) -> list[dict[str, Any]]:
    pieces = prompt.split(PLACEHOLDER)
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        # Around a picture a chat's template has line breaks of its own.
        if piece.strip():
            parts.append({"type": "text", "text": piece.strip()})
        if number < len(images):
            parts.append({"type": "image_url", "image_url": {"url": images[number]}})
    return parts


def _pause(error: FailedError, attempt: int) -> float:
    """Doubled each time, unless the server said how long."""
    told = next(iter(getattr(error, "__notes__", ())), "")
    wanted = float(told) if told.isdecimal() else FIRST_PAUSE_SECONDS * 2**attempt
    return min(wanted, LONGEST_PAUSE_SECONDS)


def _explanation(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:500]
    except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError):
        return response.reason_phrase
