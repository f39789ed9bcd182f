"""Bad pictures and worse addresses against the live server: refused in JSON, nothing inside touched, and on it goes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import pytest_asyncio

from qwenvl.api import Settings
from qwenvl.api.media import loader
from qwenvl.api.media.fetching import Fetcher
from tests.api.chatting import CHAT, body, error_of, image_part, text_part
from tests.api.hostile import PUBLIC, SIGNATURE, Canary, Hostile, NameServer, SmallInternet
from tests.api.live import LiveServer, data_url
from tests.api.media.files import BOMBS, NOT_PICTURES, ODD, colorful, encoded, png_header, reference
from tests.fake_engine import FakeEngine

PARAM = "messages[0].content[1].image_url.url"
PICTURE = encoded(colorful(), "PNG")
TROUBLE = ("Traceback", "Errno", "Exception", "Error:", "getaddrinfo", "SSL", "PIL", "10.0.0.1", "169.254", PUBLIC)


class Client:
    """Asks the live server about images, and that it still answers."""

    def __init__(self, engine: FakeEngine, http: httpx.AsyncClient) -> None:
        self._engine = engine
        self._http = http

    async def ask(self, *urls: str) -> httpx.Response:
        return await self._http.post(CHAT, json=body([text_part("What is it?"), *map(image_part, urls)], max_tokens=1))

    async def seen(self, url: str) -> bytes:
        """The picture as the engine gets it."""
        response = await self.ask(url)
        assert response.status_code == 200, response.text
        return self._engine.requests[-1].images[0].tobytes()

    async def refused(self, *urls: str) -> dict[str, Any]:
        """The error for images, and proof that the next request is answered."""
        response = await self.ask(*urls)
        assert response.status_code == 400, response.text
        assert not any(word in response.text for word in TROUBLE)
        assert await self.seen(data_url(PICTURE)) == reference(PICTURE)
        error = error_of(response)
        assert error["type"] == "invalid_request_error"
        return error


@contextmanager
def serving(*, image_timeout: float = 5, **settings: Any) -> Iterator[tuple[LiveServer, FakeEngine]]:
    engine = FakeEngine()
    with LiveServer(engine, Settings(image_timeout=image_timeout, max_image_bytes=200_000, **settings)) as live:
        yield live, engine


@pytest.fixture(scope="module")
def closed() -> Iterator[tuple[LiveServer, FakeEngine]]:
    """A server as it comes, and its engine."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[LiveServer, FakeEngine]]:
    """A server that fetches from the test's own hosts."""
    with serving(allow_private_addresses=True) as server:
        yield server


@pytest_asyncio.fixture
async def client(closed: tuple[LiveServer, FakeEngine]) -> AsyncIterator[Client]:
    live, engine = closed
    async with httpx.AsyncClient(base_url=live.url, timeout=30) as http:
        yield Client(engine, http)


@pytest_asyncio.fixture
async def open_client(opened: tuple[LiveServer, FakeEngine]) -> AsyncIterator[Client]:
    live, engine = opened
    async with httpx.AsyncClient(base_url=live.url, timeout=30) as http:
        yield Client(engine, http)


INNER = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "https://127.0.0.1:{port}/",
    "http://127.8.8.8:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[fe80::1%25eth0]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/metadata/instance",
    "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.192/latest/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[64:ff9b::a9fe:a9fe]/latest/meta-data/",
    "http://10.0.0.1:22/",
    "http://me:secret@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\",
    "http://127.0.0.1:{port}#@example.com/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example.com:{port}/",
    "http://127.0.0.1 :{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1\r\nHost: x:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "C:\\Windows\\win.ini",
    "gopher://127.0.0.1:{port}/_x",
    "dict://127.0.0.1:{port}/info",
    "ftp://127.0.0.1:{port}/a.png",
    "ldap://127.0.0.1:{port}/",
    "unix:///run/docker.sock",
    "jar:http://127.0.0.1:{port}/!/",
    "blob:http://127.0.0.1:{port}/x",
    "javascript:alert(1)",
    "data:image/png,http://127.0.0.1:{port}/",
    "data:",
    "",
]


@pytest.mark.parametrize("url", INNER)
async def test_inner_addresses_and_other_schemes(client: Client, url: str) -> None:
    async with Canary() as canary:
        error = await client.refused(url.format(port=canary.port))
        assert (error["param"], error["code"]) == (PARAM, "invalid_image_url")
        assert canary.connections == 0


async def test_names_and_redirects_that_lead_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server and public hosts of the test's own; what fails says the same whatever there is."""
    answers = {
        "public.example": [[PUBLIC]],
        "rebinding.example": [["93.184.215.15"], ["127.0.0.1"]],
        "mixed.example": [[PUBLIC, "10.0.0.1"]],
        "inside.example": [["127.0.0.1"]],
        "inside6.example": [["::ffff:127.0.0.1"]],
        "metadata.example": [["169.254.169.254"]],
        "filtered.example": [["93.184.215.16"]],
    }
    async with Hostile(PICTURE) as hostile, Canary() as canary:
        internet = SmallInternet({PUBLIC: hostile.port, "93.184.215.15": hostile.port, "127.0.0.1": canary.port})
        with NameServer(answers) as names:
            monkeypatch.setattr(loader, "Fetcher", partial(Fetcher, resolve=names.ask, network=internet))
            with serving() as (live, engine):
                async with httpx.AsyncClient(base_url=live.url, timeout=30) as http:
                    client = Client(engine, http)
                    for host in ("public", "rebinding"):
                        assert await client.seen(f"http://{host}.example/picture{SIGNATURE}") == reference(PICTURE)
                    inside = [
                        f"http://rebinding.example:{canary.port}/",
                        f"http://mixed.example:{canary.port}/",
                        f"http://inside.example:{canary.port}/",
                        f"http://inside6.example:{canary.port}/",
                        "http://metadata.example/",
                        "http://filtered.example/",
                        "http://nothing.example/",
                        "http://inside.example:6379/",
                        "https://inside.example/",
                    ]
                    redirected = [
                        f"http://public.example/redirect/{url}"
                        for url in (*inside, *(url.format(port=canary.port) for url in INNER if "://" in url))
                        if url.isprintable() and not {"#", "\\", " ", "%"} & set(url)
                    ]
                    errors = [await client.refused(url) for url in (*inside, *redirected)]
        assert {(error["param"], error["code"]) for error in errors} == {(PARAM, "invalid_image_url")}
        assert len({error["message"] for error in errors}) == 1
        assert set(internet.connections) == {PUBLIC, "93.184.215.15", "93.184.215.16"}
        assert canary.connections == 0


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("loop", "invalid_image_url"),
        ("hops/4", "invalid_image_url"),
        ("status/204", "invalid_image_url"),
        ("status/206", "invalid_image_url"),
        ("status/304", "invalid_image_url"),
        ("status/500", "invalid_image_url"),
        ("gzip", "invalid_image_url"),
        ("garbage", "invalid_image_url"),
        ("short", "invalid_image_url"),
        ("crumbs", "invalid_image_url"),
        ("lengths", "invalid_image_url"),
        ("redirect/file:///etc/passwd", "invalid_image_url"),
        ("redirect/", "invalid_image_url"),
        ("long", "invalid_image"),
        ("html", "invalid_image"),
        ("zeros", "invalid_image"),
        ("huge", "invalid_image"),
        ("headers", "invalid_image_url"),
        ("header", "invalid_image_url"),
        ("hints", "invalid_image_url"),
        ("extensions", "invalid_image"),
    ],
)
async def test_hostile_servers(open_client: Client, path: str, code: str) -> None:
    async with Hostile(PICTURE) as hostile:
        error = await open_client.refused(f"{hostile.url}/{path}{SIGNATURE}")
        assert (error["param"], error["code"]) == (PARAM, code)
        assert "secret" not in error["message"]


async def test_slow_servers() -> None:
    with serving(image_timeout=0.2, allow_private_addresses=True) as (live, engine):
        async with Hostile(PICTURE) as hostile, httpx.AsyncClient(base_url=live.url, timeout=30) as http:
            for path in ("drip", "slow", "silent"):
                error = await Client(engine, http).refused(f"{hostile.url}/{path}")
                assert (error["param"], error["code"]) == (PARAM, "invalid_image_url")
                assert "within 0.2 seconds" in error["message"]


@pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", "image/jpeg", "nonsense"])
async def test_the_content_says_what_it_is(open_client: Client, media_type: str) -> None:
    async with Hostile(PICTURE) as hostile:
        assert await open_client.seen(f"{hostile.url}/picture/{media_type}") == reference(PICTURE)
    assert await open_client.seen(data_url(PICTURE, media_type)) == reference(PICTURE)


@pytest.mark.parametrize("name", [*ODD, *BOMBS])
async def test_odd_pictures_are_seen_right(client: Client, name: str) -> None:
    content = (ODD | BOMBS)[name]
    assert await client.seen(data_url(content)) == reference(content)


@pytest.mark.parametrize("name", NOT_PICTURES)
async def test_not_pictures(client: Client, name: str) -> None:
    error = await client.refused(data_url(NOT_PICTURES[name]))
    assert error["param"] == PARAM
    assert error["code"] == "invalid_image"
    assert error["message"].startswith(f"{PARAM}: the image ")


async def test_too_many_pixels_by_the_header(client: Client) -> None:
    for side in (13_000, 50_000):
        error = await client.refused(data_url(png_header(side, side)))
        assert error["message"].startswith(f"{PARAM}: the image must have at most 89478485 pixels")


async def test_a_hundred_images(client: Client) -> None:
    error = await client.refused(*[data_url(PICTURE)] * 100)
    assert error["code"] == "too_many_images"


async def test_the_one_that_is_wrong_is_named(client: Client) -> None:
    error = await client.refused(data_url(PICTURE), data_url(b"GIF89a"))
    assert error["param"] == "messages[0].content[2].image_url.url"


async def test_a_client_that_leaves_ends_the_download(open_client: Client) -> None:
    async with Hostile() as hostile:
        asking = asyncio.create_task(open_client.ask(f"{hostile.url}/silent"))
        await hostile.asked.wait()
        asking.cancel()
        async with asyncio.timeout(4):
            await hostile.left.wait()
    assert await open_client.seen(data_url(PICTURE)) == reference(PICTURE)
