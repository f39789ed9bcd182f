"""The page over HTTP: what is served, to whom, with which headers, and for how long it may be kept."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.web.assets import MEDIA_TYPES, STATIC
from tests.api.chatting import error_of
from tests.api.live import in_process
from tests.fake_engine import FakeEngine

KEYS = Settings.model_validate({"api_keys": ("key",)})


async def place_of(client: httpx.AsyncClient) -> str:
    """Where the page's other files are."""
    found = re.search(r'src="(web/[0-9a-f]{16})/js/main\.js"', (await client.get("/")).text)
    assert found
    return f"/{found[1]}"


async def test_the_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "__ASSETS__" not in response.text
    head = await client.head("/")
    assert head.status_code == 200
    assert head.headers["etag"] == response.headers["etag"]


async def test_all_that_the_page_names_is_there(client: httpx.AsyncClient) -> None:
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', (await client.get("/")).text))
    assert len(named) > 5
    for path in named:
        assert (await client.get(f"/{path}")).status_code == 200, path


async def test_files_have_their_types(client: httpx.AsyncClient) -> None:
    place = await place_of(client)
    for name, media_type in {
        "js/main.js": "text/javascript; charset=utf-8",
        "vendor/markdown-it/markdown-it.mjs": "text/javascript; charset=utf-8",
        "css/base.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "examples/shapes.png": "image/png",
    }.items():
        response = await client.get(f"{place}/{name}")
        assert response.content == (STATIC / name).read_bytes()
        assert response.headers["content-type"] == media_type


async def test_every_response_has_the_policy(client: httpx.AsyncClient) -> None:
    for path in ("/", f"{await place_of(client)}/js/main.js"):
        headers = (await client.get(path)).headers
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["img-src"] == "'self' data: blob:"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_the_index_is_asked_for_again_and_the_rest_is_kept(client: httpx.AsyncClient) -> None:
    index = await client.get("/")
    assert index.headers["cache-control"] == "no-cache"
    again = await client.get("/", headers={"If-None-Match": f'"other", W/{index.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == index.headers["etag"]
    script = await client.get(f"{await place_of(client)}/js/main.js")
    assert "immutable" in script.headers["cache-control"]


@pytest.mark.parametrize(
    "name",
    [
        "js/none.js",
        "../assets.py",
        "..%2fassets.py",
        "%2e%2e/assets.py",
        "vendor/markdown-it/LICENSE",
        "index.html",
        "js",
        "",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    response = await client.get(f"{await place_of(client)}/{name}")
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_url"


async def test_another_version_is_not_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/web/0123456789abcdef/js/main.js")).status_code == 404


async def test_the_page_needs_no_key_and_its_requests_do() -> None:
    async with in_process(FakeEngine(), KEYS) as client:
        assert (await client.get("/")).status_code == 200
        place = await place_of(client)
        assert (await client.head(f"{place}/js/main.js")).status_code == 200
        for method, path in (
            ("GET", "/v1/models"),
            ("POST", "/"),
            ("DELETE", f"{place}/js/main.js"),
            ("GET", f"{place}/js/none.js"),
            ("GET", "/web/"),
        ):
            assert (await client.request(method, path)).status_code == 401, (method, path)


async def test_bodies_for_the_page_are_not_read() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        pytest.fail("a body that nobody needs was read")
        yield b""

    async with in_process(FakeEngine(), KEYS) as client:
        assert (await client.request("GET", "/", content=chunks())).status_code == 200


async def test_without_the_page() -> None:
    async with in_process(FakeEngine(), Settings(web=False)) as client:
        response = await client.get("/")
        assert response.status_code == 404
        assert error_of(response)["code"] == "unknown_url"
    async with in_process(FakeEngine(), KEYS.model_copy(update={"web": False})) as client:
        assert (await client.get("/")).status_code == 401


async def test_its_files_do_not_fill_the_log(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    place = await place_of(client)
    with caplog.at_level("DEBUG", "qwenvl.access"):
        await client.get(f"{place}/js/main.js")
        await client.get(f"{place}/js/none.js")
    assert [record.levelname for record in caplog.records if record.name == "qwenvl.access"] == ["DEBUG", "INFO"]


async def test_it_is_no_part_of_the_api(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/web")]


def test_every_file_is_served_or_for_people_to_read() -> None:
    others = {path.name for path in STATIC.rglob("*") if path.is_file() and path.suffix not in MEDIA_TYPES}
    assert others == {"LICENSE"} | {"README.md"}
