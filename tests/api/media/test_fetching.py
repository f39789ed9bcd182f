import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpcore
import pytest
import pytest_asyncio

from qwenvl.api.media.fetching import CheckedBackend, Fetcher, FetchError, ResponseTooLargeError
from tests.api.live import Pictures

LIMIT = 1_000_000


@pytest_asyncio.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(allow_private_addresses=True)
    yield fetcher
    await fetcher.aclose()


@pytest_asyncio.fixture
async def pictures(images: Path) -> AsyncIterator[Pictures]:
    async with Pictures(images) as server:
        yield server


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Name resolution that gives each of ``answers`` in turn, then the last again; returns the names looked up."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        asked.append(name)
        addresses = answers[min(len(asked), len(answers)) - 1]
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


def record_connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where connections would have gone; none is made."""
    made: list[tuple[str, int]] = []

    async def connect_tcp(self: object, host: str, port: int, *args: object) -> None:
        made.append((host, port))
        raise httpcore.ConnectError("recorded")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)
    return made


async def test_get(fetcher: Fetcher, pictures: Pictures, images: Path) -> None:
    assert await fetcher.get(f"{pictures.url}/a.png", max_bytes=LIMIT) == (images / "a.png").read_bytes()


@pytest.mark.parametrize(
    "path", ["missing.png", "garbage", "redirect/file:///etc/passwd", "redirect/http://", "hops/4"]
)
async def test_failures(fetcher: Fetcher, pictures: Pictures, path: str) -> None:
    with pytest.raises(FetchError):
        await fetcher.get(f"{pictures.url}/{path}", max_bytes=LIMIT)


async def test_three_redirects_are_followed(fetcher: Fetcher, pictures: Pictures, images: Path) -> None:
    content = await fetcher.get(f"{pictures.url}/hops/3", max_bytes=LIMIT)
    assert content == (images / "a.png").read_bytes()
    assert pictures.paths == ["/hops/3", "/hops/2", "/hops/1", "/a.png"]


@pytest.mark.parametrize("path", ["endless", f"announced/{LIMIT + 1}"])
async def test_too_large(fetcher: Fetcher, pictures: Pictures, path: str) -> None:
    with pytest.raises(ResponseTooLargeError):
        await fetcher.get(f"{pictures.url}/{path}", max_bytes=LIMIT)


async def test_the_checked_address_is_the_one_connected_to(
    fetcher: Fetcher, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_to(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    await fetcher.get(f"http://pictures.example:{pictures.port}/a.png", max_bytes=LIMIT)
    assert asked == ["pictures.example"]
    assert pictures.hosts == [f"pictures.example:{pictures.port}"]


async def test_public_addresses_are_connected_to_as_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolve_to(monkeypatch, ["2606:4700::1111", "93.184.215.14"], ["127.0.0.1"])
    made = record_connections(monkeypatch)
    with pytest.raises(httpcore.ConnectError):
        await CheckedBackend(allow_private_addresses=False).connect_tcp("pictures.example", 80)
    assert made == [("93.184.215.14", 80), ("2606:4700::1111", 80)]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["93.184.215.14", "::1"], ["169.254.169.254"]]
)
async def test_one_private_address_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    resolve_to(monkeypatch, addresses)
    made = record_connections(monkeypatch)
    with pytest.raises(FetchError, match="not public"):
        await CheckedBackend(allow_private_addresses=False).connect_tcp("pictures.example", 80)
    assert made == []


async def test_redirects_are_checked_again(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public host sends on to an inner one."""
    resolve_to(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
    connect = httpcore.AnyIOBackend.connect_tcp

    async def connect_to_pictures(self: Any, host: str, port: int, *args: Any) -> Any:
        assert host == "93.184.215.14"
        return await connect(self, "127.0.0.1", pictures.port, *args)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_to_pictures)
    fetcher = Fetcher(allow_private_addresses=False)
    with pytest.raises(FetchError, match="not public"):
        await fetcher.get("http://outside.example/redirect/http://inside.example/a.png", max_bytes=LIMIT)
    await fetcher.aclose()
    assert pictures.paths == ["/redirect/http://inside.example/a.png"]


async def test_user_info_is_not_sent(fetcher: Fetcher, pictures: Pictures) -> None:
    await fetcher.get(f"http://me:secret@127.0.0.1:{pictures.port}/a.png", max_bytes=LIMIT)
    assert pictures.hosts == [f"127.0.0.1:{pictures.port}"]
