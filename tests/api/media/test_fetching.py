import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator

import httpcore
import pytest
import pytest_asyncio
import trustme

from qwenvl.api.media.connecting import FetchError, ResponseTooLargeError
from qwenvl.api.media.fetching import Fetcher
from qwenvl.api.media.urls import UrlError, read_url
from tests.api.hostile import PUBLIC, Canary, Hostile, NameServer, SmallInternet

LIMIT = 100_000
PICTURE = bytes(range(256)) * 300
AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """File of the key and the certificate of pictures.example."""
    path = tmp_path_factory.mktemp("tls") / "pictures.example.pem"
    AUTHORITY.issue_cert("pictures.example").private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


@pytest_asyncio.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with Hostile(PICTURE) as server:
        yield server


@pytest_asyncio.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, allow_private_addresses=True)
    yield fetcher
    await fetcher.aclose()


@pytest.fixture
def names() -> Iterator[NameServer]:
    answers = {
        "pictures.example": [[PUBLIC]],
        "rebinding.example": [[PUBLIC], ["127.0.0.1"]],
        "mixed.example": [[PUBLIC, "127.0.0.1"]],
        "mixed6.example": [[PUBLIC, "::1"]],
        "inside.example": [["127.0.0.1"]],
        "mapped.example": [["::ffff:127.0.0.1"]],
        "metadata.example": [["169.254.169.254"]],
        "nat64.example": [["64:ff9b::7f00:1"]],
    }
    with NameServer(answers) as server:
        yield server


async def get(fetcher: Fetcher, url: str) -> bytes:
    """With a deadline, which the caller of a fetcher sets."""
    async with asyncio.timeout(20):
        return await fetcher.get(read_url(url))


@pytest.mark.parametrize("path", ["picture", "lying/text/html", "hops/3", "redirect//picture?x=1"])
async def test_get(fetcher: Fetcher, hostile: Hostile, path: str) -> None:
    assert await get(fetcher, f"{hostile.url}/{path}") == PICTURE


@pytest.mark.parametrize(
    "path",
    [
        *(f"status/{status}" for status in (201, 203, 204, 206, 300, 304, 400, 401, 403, 404, 500, 503)),
        "status/302",
        "garbage",
        "short",
        "lengths",
        "digits",
        "gzip",
        "crumbs",
        "headers",
        "header",
        "hints",
        "hops/4",
        "loop",
        "redirect/file:///etc/passwd",
        "redirect/data:image/png;base64,AAAA",
        "redirect/http://",
        "redirect/http://2130706433/",
        "redirect/http://me@127.0.0.1/",
        "redirect/%5C%5C127.0.0.1/",
        "redirect/%FF",
    ],
)
async def test_failures(fetcher: Fetcher, hostile: Hostile, path: str) -> None:
    with pytest.raises(FetchError) as caught:
        await get(fetcher, f"{hostile.url}/{path}")
    assert "127.0.0.1" not in str(caught.value)
    assert len(hostile.paths) <= 4
    assert await get(fetcher, f"{hostile.url}/picture") == PICTURE


@pytest.mark.parametrize("path", ["zeros", "huge", "extensions"])
async def test_too_large(fetcher: Fetcher, hostile: Hostile, path: str) -> None:
    with pytest.raises(ResponseTooLargeError):
        await get(fetcher, f"{hostile.url}/{path}")
    assert await get(fetcher, f"{hostile.url}/picture") == PICTURE


async def test_no_more_is_read_than_was_announced(fetcher: Fetcher, hostile: Hostile) -> None:
    assert await get(fetcher, f"{hostile.url}/long") == PICTURE[: len(PICTURE) // 2]


@pytest.mark.parametrize("path", ["silent", "slow", "drip"])
async def test_deadlines_are_total(fetcher: Fetcher, hostile: Hostile, path: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await fetcher.get(read_url(f"{hostile.url}/{path}"))
    assert await get(fetcher, f"{hostile.url}/picture") == PICTURE


async def test_three_redirects_are_followed(fetcher: Fetcher, hostile: Hostile) -> None:
    await get(fetcher, f"{hostile.url}/hops/3")
    assert hostile.paths == ["/hops/3", "/hops/2", "/hops/1", "/picture"]


async def test_names_are_looked_up_once_and_sent_on(hostile: Hostile, names: NameServer) -> None:
    internet = SmallInternet({PUBLIC: hostile.port})
    fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
    assert await get(fetcher, "http://Pictures.Example.:8080/picture") == PICTURE
    await fetcher.aclose()
    assert names.asked == ["pictures.example"]
    assert internet.connections == [PUBLIC]
    assert hostile.hosts == ["pictures.example:8080"]


async def test_rebinding(hostile: Hostile, names: NameServer) -> None:
    """A name that was public when it was checked is private a moment later."""
    async with Canary() as canary:
        internet = SmallInternet({PUBLIC: hostile.port, "127.0.0.1": canary.port})
        fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
        assert await get(fetcher, "http://rebinding.example/picture") == PICTURE
        assert names.asked == ["rebinding.example"]
        with pytest.raises(FetchError, match="not public"):
            await get(fetcher, "http://rebinding.example/picture")
        await fetcher.aclose()
        assert len(names.asked) == 2
        assert internet.connections == [PUBLIC]
        assert canary.connections == 0


@pytest.mark.parametrize(
    "host", ["mixed.example", "mixed6.example", "inside.example", "mapped.example", "metadata.example", "nat64.example"]
)
@pytest.mark.parametrize("redirected", [False, True])
async def test_one_inner_address_is_enough_to_refuse(
    hostile: Hostile, names: NameServer, host: str, redirected: bool
) -> None:
    internet = SmallInternet({PUBLIC: hostile.port})
    fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
    before = "http://pictures.example/redirect/" if redirected else ""
    with pytest.raises(FetchError, match="not public"):
        await get(fetcher, f"{before}http://{host}/")
    await fetcher.aclose()
    assert names.asked[-1] == host
    assert internet.connections == [PUBLIC] * redirected


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "168.63.129.16", "[64:ff9b::a9fe:a9fe]"])
async def test_inner_addresses_are_refused_at_once(hostile: Hostile, names: NameServer, address: str) -> None:
    internet = SmallInternet({PUBLIC: hostile.port})
    fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
    with pytest.raises(UrlError, match="not a public address"):
        await get(fetcher, f"http://{address}/")
    with pytest.raises(FetchError, match="redirected"):
        await get(fetcher, f"http://pictures.example/redirect/http://{address}/")
    await fetcher.aclose()
    assert internet.connections == [PUBLIC]


async def test_names_without_addresses(hostile: Hostile, names: NameServer) -> None:
    internet = SmallInternet({})
    fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
    for host in ("nothing.example", "pictures.example"):
        with pytest.raises(FetchError):
            await get(fetcher, f"http://{host}/")
    await fetcher.aclose()
    assert internet.connections == [PUBLIC]


async def test_domains_hold_for_redirects_too(hostile: Hostile, names: NameServer) -> None:
    internet = SmallInternet({PUBLIC: hostile.port})
    fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, domains=["pictures.example"], resolve=names.ask, network=internet)
    assert await get(fetcher, "http://pictures.example/picture") == PICTURE
    with pytest.raises(UrlError, match="does not take images from"):
        await get(fetcher, "http://rebinding.example/picture")
    with pytest.raises(FetchError, match="redirected"):
        await get(fetcher, "http://pictures.example/redirect/http://rebinding.example/picture")
    await fetcher.aclose()
    assert set(names.asked) == {"pictures.example"}


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's authority is one that the fetcher trusts."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    monkeypatch.setattr(httpcore, "default_ssl_context", lambda: context)


@pytest.mark.usefixtures("trusted")
async def test_tls_goes_by_name(names: NameServer, certificate: str) -> None:
    async with Hostile(PICTURE, certificate) as server:
        internet = SmallInternet({PUBLIC: server.port})
        fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
        assert await get(fetcher, "https://pictures.example/picture") == PICTURE
        with pytest.raises(FetchError, match="ConnectError"):
            await get(fetcher, "https://rebinding.example/picture")
        with pytest.raises(FetchError, match="https to http"):
            await get(fetcher, "https://pictures.example/redirect/http://pictures.example/picture")
        await fetcher.aclose()
        assert server.tls_names[:2] == ["pictures.example", "rebinding.example"]


async def test_certificates_are_checked(names: NameServer, certificate: str) -> None:
    async with Hostile(PICTURE, certificate) as server:
        internet = SmallInternet({PUBLIC: server.port})
        fetcher = Fetcher(max_bytes=LIMIT, max_fetches=8, resolve=names.ask, network=internet)
        with pytest.raises(FetchError, match="ConnectError"):
            await get(fetcher, "https://pictures.example/picture")
        await fetcher.aclose()
        assert server.paths == []


async def test_the_systems_own_names(hostile: Hostile, fetcher: Fetcher) -> None:
    assert await get(fetcher, f"http://localhost:{hostile.port}/picture") == PICTURE
    checking = Fetcher(max_bytes=LIMIT, max_fetches=8)
    with pytest.raises(FetchError, match="not public"):
        await get(checking, f"http://localhost:{hostile.port}/picture")
    await checking.aclose()
    assert hostile.paths == ["/picture"]
