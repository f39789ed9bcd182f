import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai.types import Model

from qwenvl.api import Settings, create_app
from qwenvl.engine.adapter_copy import CONFIG_FILE, WEIGHTS_FILE
from qwenvl.engine.adapters import AdapterLoadError
from qwenvl.errors import EngineDeadError, EngineError, QwenVLError
from tests.api.chatting import CHAT, ask, body, chunks_of, error_of
from tests.api.live import in_process
from tests.api.telemetry.scraping import label_values, scrape
from tests.fake_engine import FakeEngine

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
ADMIN = {"Authorization": "Bearer admin"}


def write_adapter(folder: Path, weights: str = "weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    (folder / WEIGHTS_FILE).write_text(weights)
    return folder


@pytest.fixture
def lora_dir(tmp_path: Path) -> Path:
    (folder := tmp_path / "loras").mkdir()
    return folder


@pytest.fixture
def settings(lora_dir: Path) -> Settings:
    return Settings.model_validate({"lora_dir": lora_dir, "api_keys": ["any"], "admin_keys": ["admin"]})


@pytest_asyncio.fixture
async def client(engine: FakeEngine, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(engine, settings) as http:
        http.headers["Authorization"] = "Bearer any"
        yield http


async def load(client: httpx.AsyncClient, name: Any, path: Any, **fields: Any) -> httpx.Response:
    return await client.post(LOAD, json={"lora_name": name, "lora_path": str(path), **fields}, headers=ADMIN)


async def unload(client: httpx.AsyncClient, name: Any) -> httpx.Response:
    return await client.post(UNLOAD, json={"lora_name": name}, headers=ADMIN)


async def say(client: httpx.AsyncClient, model: str) -> str:
    answer = await ask(client, model=model)
    assert answer["model"] == model
    return str(answer["choices"][0]["message"]["content"])


async def test_loaded_named_and_unloaded(client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine) -> None:
    write_adapter(lora_dir / "a")
    loaded = await load(client, "team/a", "a")
    assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'team/a' added successfully.")
    cards = (await client.get("/v1/models")).json()["data"]
    assert [card["id"] for card in cards] == ["tiny", "alias/tiny", "team/a"]
    assert [card["parent"] for card in cards] == [None, None, "tiny"]
    assert {card["root"] for card in cards} == {"tiny"}
    card = (await client.get("/v1/models/team/a")).json()
    assert card == cards[-1]
    Model.model_validate(card, strict=True)
    assert str(lora_dir) not in json.dumps(cards)

    assert await say(client, "team/a") != await say(client, "tiny")
    assert [request.adapter for request in engine.requests] == ["team/a", None]

    unloaded = await unload(client, "team/a")
    assert (unloaded.status_code, unloaded.text) == (200, "Success: LoRA adapter 'team/a' removed successfully.")
    gone = await client.post(CHAT, json=body(model="team/a"))
    assert (gone.status_code, error_of(gone)["code"]) == (404, "model_not_found")
    assert (await client.get("/v1/models/team/a")).status_code == 404


async def test_every_route_takes_the_name(client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine) -> None:
    await load(client, "a", write_adapter(lora_dir / "a"))
    text = await client.post("/v1/completions", json={"model": "a", "prompt": ["Hello", "there"]})
    assert text.json()["model"] == "a"
    streamed = chunks_of(await client.post(CHAT, json=body(model="alias/tiny", stream=True)))
    assert {chunk["model"] for chunk in streamed} == {"alias/tiny"}
    first = (await client.post("/v1/responses", json={"model": "a", "input": "Hello"})).json()
    assert first["model"] == "a"
    again = {"model": "a", "input": "And?", "previous_response_id": first["id"]}
    assert (await client.post("/v1/responses", json=again)).status_code == 200
    by_the_model = again | {"model": "tiny"}
    assert (await client.post("/v1/responses", json=by_the_model)).status_code == 200
    assert [request.adapter for request in engine.requests] == ["a", "a", None, "a", "a", None]
    assert (await client.post("/tokenize", json={"model": "a", "prompt": "Hello"})).status_code == 200
    assert (await client.post("/detokenize", json={"model": "a", "tokens": [1]})).status_code == 200
    for path in ("/tokenize", "/detokenize"):
        response = await client.post(path, json={"model": "b", "prompt": "Hello", "tokens": [1]})
        assert response.status_code in (400, 404)
    assert "a" in label_values(await scrape(client), "model")


async def test_a_batch_takes_the_name(client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine) -> None:
    await load(client, "a", write_adapter(lora_dir / "a"))
    lines = [
        {"custom_id": model, "method": "POST", "url": CHAT, "body": body(model=model)} for model in ("a", "tiny", "b")
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = (await client.post("/v1/files", files={"file": ("f", content)}, data={"purpose": "batch"})).json()
    wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch = (await client.post("/v1/batches", json=wanted)).json()
    async with asyncio.timeout(20):
        while batch["status"] != "completed":
            batch = (await client.get(f"/v1/batches/{batch['id']}")).json()
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert sorted(str(request.adapter) for request in engine.requests) == ["None", "a"]


async def test_replaced_in_place(client: httpx.AsyncClient, lora_dir: Path) -> None:
    await load(client, "a", write_adapter(lora_dir / "a"))
    before = await say(client, "a")
    write_adapter(lora_dir / "a", "other weights")
    assert await say(client, "a") == before
    refused = await load(client, "a", "a")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "adapter_exists")
    assert (await load(client, "a", "a", load_inplace=True)).status_code == 200
    assert await say(client, "a") != before


async def test_metrics_keep_the_name_of_a_request_whose_adapter_went(
    client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine
) -> None:
    await load(client, "a", write_adapter(lora_dir / "a"))
    engine.hold()
    asking = asyncio.create_task(ask(client, model="a"))
    await engine.until(lambda: engine.in_flight == 1)
    assert (await unload(client, "a")).status_code == 200
    engine.release()
    assert (await asking)["choices"][0]["finish_reason"]
    samples = await scrape(client)
    assert any(dict(labels).get("model") == "a" for name, labels in samples if name == "qwenvl_http_requests_total")


@pytest.mark.parametrize("key", ["any", "wrong"])
async def test_only_admins(client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine, key: str) -> None:
    write_adapter(lora_dir / "a")
    for path in (LOAD, UNLOAD):
        headers = {"Authorization": f"Bearer {key}"}
        response = await client.post(path, json={"lora_name": "a", "lora_path": "a"}, headers=headers)
        assert response.status_code == {"any": 403, "wrong": 401}[key]
        assert error_of(response)["code"] == {"any": "insufficient_permissions", "wrong": "invalid_api_key"}[key]
    assert not engine.adapters


@pytest.mark.parametrize(
    ("options", "status"),
    [({}, 403), ({"admin_keys": ["admin"]}, 403), ({"api_keys": ["admin"]}, 403)],
)
async def test_servers_that_load_none(engine: FakeEngine, options: dict[str, Any], status: int) -> None:
    async with in_process(engine, Settings.model_validate(options)) as http:
        assert (await load(http, "a", "a")).status_code == status


def test_a_folder_that_nobody_may_load_from(engine: FakeEngine) -> None:
    with pytest.raises(QwenVLError, match="--lora-dir needs somebody who may load adapters"):
        create_app(engine, Settings.model_validate({"lora_dir": ".", "api_keys": ["any"]}))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AdapterLoadError("a", "/secret/path is full"), 500, "engine_error"),
        (EngineError("secret"), 500, "engine_error"),
        (EngineDeadError("secret"), 503, "engine_dead"),
        (OSError("secret"), 500, "internal_error"),
    ],
)
async def test_failures_of_the_server(
    client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine, error: Exception, status: int, code: str
) -> None:
    engine.load_error = error
    response = await load(client, "a", write_adapter(lora_dir / "a"))
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert error_of(response)["type"] == "server_error"
    assert "secret" not in response.text
    assert ("the adapter 'a'" in response.text) == isinstance(error, AdapterLoadError)
    engine.load_error = None
    assert (await load(client, "a", "a")).status_code == 200


async def test_an_admin_of_the_key_file(engine: FakeEngine, lora_dir: Path, tmp_path: Path) -> None:
    (file := tmp_path / "keys.toml").write_text('[keys.root]\nkey = "admin"\nadmin = true\n')
    file.chmod(0o600)
    write_adapter(lora_dir / "a")
    async with in_process(engine, Settings(api_key_file=file, lora_dir=lora_dir)) as http:
        assert (await load(http, "a", "a")).status_code == 200


async def test_an_admin_key_is_a_key_like_the_others(client: httpx.AsyncClient) -> None:
    assert (await client.post(CHAT, json=body(), headers=ADMIN)).status_code == 200
    assert (await client.post(CHAT, json=body(), headers={"Authorization": ""})).status_code == 401


@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ({"lora_path": "nowhere"}, 400, "lora_path", "invalid_adapter"),
        ({"lora_path": "broken"}, 400, "lora_path", "invalid_adapter"),
        ({"lora_path": "../outside"}, 400, "lora_path", "invalid_value"),
        ({"lora_path": "/etc"}, 400, "lora_path", "invalid_value"),
        ({"lora_path": "link"}, 400, "lora_path", "invalid_value"),
        ({"lora_path": "a\0b"}, 400, "lora_path", "invalid_value"),
        ({"lora_path": ""}, 400, "lora_path", "invalid_value"),
        ({"lora_path": None}, 400, "lora_path", "invalid_type"),
        ({"lora_name": "tiny"}, 409, "lora_name", "adapter_exists"),
        ({"lora_name": "alias/tiny", "load_inplace": True}, 409, "lora_name", "adapter_exists"),
        ({"lora_name": "a b"}, 400, "lora_name", "invalid_value"),
        ({"lora_name": "x" * 129}, 400, "lora_name", "invalid_value"),
        ({"load_inplace": "yes"}, 400, "load_inplace", "invalid_type"),
        ({"is_3d_lora_weight": True}, 400, "is_3d_lora_weight", "unsupported_parameter"),
        ({"lora_nmae": 1}, 400, "lora_nmae", "unknown_parameter"),
    ],
)
async def test_refusals(
    client: httpx.AsyncClient,
    lora_dir: Path,
    engine: FakeEngine,
    fields: dict[str, Any],
    status: int,
    param: str,
    code: str,
) -> None:
    write_adapter(lora_dir / "a")
    (write_adapter(lora_dir / "broken") / CONFIG_FILE).write_text("{}")
    os.symlink(write_adapter(lora_dir.parent / "outside"), lora_dir / "link")
    response = await client.post(LOAD, json={"lora_name": "a", "lora_path": "a"} | fields, headers=ADMIN)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)
    assert not engine.adapters


async def test_no_room_and_nothing_there(client: httpx.AsyncClient, lora_dir: Path) -> None:
    write_adapter(lora_dir / "a")
    assert [(await load(client, f"a{i}", "a")).status_code for i in range(4)] == [200] * 4
    full = await load(client, "a5", "a")
    assert (full.status_code, error_of(full)["code"]) == (400, "too_many_adapters")
    unknown = await unload(client, "a5")
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "adapter_not_found")
    for name in ("tiny", "no such"):
        assert (await unload(client, name)).status_code == 404


async def test_many_at_a_time(client: httpx.AsyncClient, lora_dir: Path, engine: FakeEngine) -> None:
    write_adapter(lora_dir / "a")
    statuses = [answer.status_code for answer in await asyncio.gather(*[load(client, "a", "a") for _ in range(8)])]
    assert sorted(statuses) == [200] + [409] * 7
    statuses = [answer.status_code for answer in await asyncio.gather(*[unload(client, "a") for _ in range(8)])]
    assert sorted(statuses) == [200] + [404] * 7
    assert not engine.adapters
