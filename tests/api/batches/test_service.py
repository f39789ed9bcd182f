"""The directory of files and batches: whose it is, and what happens where it cannot be used."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.batches.data_dir import default_data_dir
from tests.api.chatting import ask, error_of
from tests.api.live import in_process
from tests.fake_engine import FakeEngine


async def unavailable(client: httpx.AsyncClient, reason: str, caplog: pytest.LogCaptureFixture) -> str:
    """The message to clients, once every route has answered; the reason is in the log, once."""
    responses = [
        await client.get("/v1/files"),
        await client.post("/v1/files", data={"purpose": "batch"}, files={"file": b"{}"}),
        await client.get("/v1/files/file-x/content"),
        await client.delete("/v1/files/file-x"),
        await client.get("/v1/batches"),
        await client.post("/v1/batches/batch_x/cancel"),
    ]
    assert {response.status_code for response in responses} == {503}
    assert all("retry-after" in response.headers for response in responses)
    errors = [error_of(response) for response in responses]
    assert {error["code"] for error in errors} == {"batches_unavailable"}
    assert {error["type"] for error in errors} == {"server_error"}
    assert sum(reason in record.getMessage() for record in caplog.records) == 1
    await ask(client)
    return str(errors[0]["message"])


async def test_the_second_server_says_that_there_is_a_first(
    engine: FakeEngine, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_process(engine, settings) as first:
        assert (await first.get("/v1/files")).status_code == 200
        async with in_process(FakeEngine(), settings) as second:
            assert "another server" in await unavailable(second, "another server holds", caplog)
        async with in_process(FakeEngine(), settings) as second:
            assert (await second.get("/v1/batches")).status_code == 503
            assert (await first.get("/v1/batches")).status_code == 200
    async with in_process(FakeEngine(), settings) as third:
        assert (await third.get("/v1/batches")).status_code == 200


async def test_a_server_takes_over_when_the_first_has_gone(engine: FakeEngine, settings: Settings) -> None:
    async with in_process(engine, settings) as second:
        async with in_process(FakeEngine(), settings) as first:
            assert (await first.get("/v1/files")).status_code == 200
            assert (await second.get("/v1/files")).status_code == 503
        assert (await second.get("/v1/files")).status_code == 200


async def test_nothing_is_made_before_it_is_needed(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await ask(client)
    assert not os.listdir(tmp_path)
    await client.get("/v1/files")
    assert sorted(name for name in os.listdir(tmp_path / "data") if "-" not in name) == [
        "batches.sqlite3",
        "files",
        "lock",
    ]


async def test_a_directory_that_cannot_be_made(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    async with in_process(engine, Settings(data_dir=tmp_path / "file" / "data")) as client:
        assert str(tmp_path) not in await unavailable(client, "Not a directory", caplog)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"no database" * 1000, "file is not a database"), (None, "has version 99")]
)
async def test_a_database_that_is_none_of_ours(
    engine: FakeEngine, settings: Settings, caplog: pytest.LogCaptureFixture, content: bytes | None, reason: str
) -> None:
    assert settings.data_dir is not None
    settings.data_dir.mkdir()
    path = settings.data_dir / "batches.sqlite3"
    if content is None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        path.write_bytes(content)
    async with in_process(engine, settings) as client:
        await unavailable(client, reason, caplog)


async def test_a_full_disk(engine: FakeEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/dev/full`` in place of the file that an upload writes."""
    assert settings.data_dir is not None
    (settings.data_dir / "files").mkdir(parents=True)
    (settings.data_dir / "files" / "file-full").symlink_to("/dev/full")
    async with in_process(engine, settings) as client:
        with monkeypatch.context() as patch:
            patch.setattr("qwenvl.api.batches.file_routes.new_id", lambda prefix: prefix + "full")
            await client.get("/v1/files")
            (settings.data_dir / "files" / "file-full").symlink_to("/dev/full")
            response = await client.post("/v1/files", data={"purpose": "batch"}, files={"file": b"{}"})
        assert response.status_code == 503
        assert error_of(response)["code"] == "storage_full"
        assert not (await client.get("/v1/files")).json()["data"]
        assert not list((settings.data_dir / "files").iterdir())


def test_where_data_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "qwenvl"
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", unset)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert default_data_dir() == tmp_path / ".local" / "share" / "qwenvl"
