"""Batches beside interactive requests, and servers that end in the middle of one."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from qwenvl.api import Settings
from tests.api.batches.inputs import begin, finished, jsonl, outcome, request_line, wait_for
from tests.api.chatting import CHAT, ask, body
from tests.api.live import in_process
from tests.api.test_server import PATIENCE, ROOT, SERVING, read_until
from tests.fake_engine import FakeEngine

# Five steps of the engine each: so many steps are so many answers, however they interleave.
LINES = [request_line(f"line {number}", max_tokens=5) for number in range(60)]


async def start(client: httpx.AsyncClient, lines: list[dict[str, Any]]) -> dict[str, Any]:
    file = (await client.post("/v1/files", data={"purpose": "batch"}, files={"file": jsonl(lines)})).json()
    wire = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    return dict((await client.post("/v1/batches", json=wire)).json())


async def until_finished(client: httpx.AsyncClient, batch: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while batch["status"] not in ("failed", "completed", "expired", "cancelled"):
            batch = (await client.get(f"/v1/batches/{batch['id']}")).json()
    return batch


async def custom_ids(client: httpx.AsyncClient, file_id: str) -> list[str]:
    text = (await client.get(f"/v1/files/{file_id}/content")).text
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def prompts(engine: FakeEngine) -> list[str]:
    """What the engine was asked, in its order: the last words of each prompt."""
    asked = [engine.info.vocabulary.decode(request.token_ids) for request in engine.requests]
    return [text.rpartition("user\n")[2].partition("<|im_end|>")[0] for text in asked]


async def test_no_more_than_so_many_requests_are_in_work(engine: FakeEngine, settings: Settings) -> None:
    peaks = [0]

    async def watch() -> None:
        while True:
            await engine.until(lambda: engine.in_flight > peaks[-1])
            peaks.append(engine.in_flight)

    async with in_process(engine, settings) as client:
        watching = asyncio.create_task(watch())
        engine.hold()
        batches = [await start(client, LINES) for _ in range(2)]
        await engine.until(lambda: engine.in_flight == 4)
        engine.release()
        for batch in batches:
            assert (await until_finished(client, batch))["status"] == "completed"
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert peaks[-1] == 4


async def test_batches_take_turns(engine: FakeEngine, settings: Settings) -> None:
    one = settings.model_copy(update={"batch_concurrency": 1})
    async with in_process(engine, one) as client:
        engine.hold()
        first = await start(client, [request_line(f"first {number}") for number in range(8)])
        await engine.until(lambda: engine.in_flight == 1)
        second = await start(client, [request_line(f"second {number}") for number in range(8)])
        while (await client.get(f"/v1/batches/{second['id']}")).json()["status"] == "validating":
            pass
        engine.release()
        for batch in (first, second):
            await until_finished(client, batch)
    order = [text.split()[0] for text in prompts(engine)]
    assert order.count("first") == order.count("second") == 8
    assert "second" in order[:4]
    assert "first first first" not in " ".join(order[2:12])


async def test_interactive_requests_go_first(engine: FakeEngine, settings: Settings) -> None:
    """One place to work in, held by a batch of which all the rest waits: who asks now is next."""
    narrow = settings.model_copy(update={"max_running": 1})
    async with in_process(engine, narrow) as client:
        engine.hold()
        batch = await start(client, LINES)
        await engine.until(lambda: engine.in_flight == 1)
        asked = [asyncio.create_task(client.post(CHAT, json=body(f"person {number}"))) for number in range(5)]
        while (await waiting(client)) < 5:
            pass
        engine.release()
        answers = await asyncio.gather(*asked)
        done_by_then = (await client.get(f"/v1/batches/{batch['id']}")).json()["request_counts"]["completed"]
        assert done_by_then < len(LINES)
        assert (await until_finished(client, batch))["request_counts"]["completed"] == len(LINES)
    assert {answer.status_code for answer in answers} == {200}
    assert prompts(engine)[1:6] == [f"person {number}" for number in range(5)]


async def waiting(client: httpx.AsyncClient) -> int:
    metrics = (await client.get("/metrics")).text
    return int(
        float(next(line.split()[1] for line in metrics.splitlines() if line.startswith("qwenvl_requests_waiting")))
    )


async def test_a_full_engine_is_asked_again(settings: Settings) -> None:
    engine = FakeEngine(capacity=1)
    two = settings.model_copy(update={"batch_concurrency": 2})
    async with in_process(engine, two) as client:
        engine.hold()
        asked = asyncio.create_task(client.post(CHAT, json=body("person")))
        await engine.until(lambda: engine.in_flight == 1)
        batch = await start(client, LINES[:3])
        while (batch := (await client.get(f"/v1/batches/{batch['id']}")).json())["status"] == "validating":
            pass
        assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 0}
        engine.release()
        assert (await asked).status_code == 200
        batch = await until_finished(client, batch)
    assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


async def test_what_fails_in_the_server_is_a_failure_of_the_line(
    engine: FakeEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with in_process(engine, settings) as client:

        def broken(*_: object) -> None:
            raise RuntimeError("secret")

        with monkeypatch.context() as patch:
            patch.setattr("tests.fake_engine.answer", broken)
            batch = await until_finished(client, await start(client, LINES[:1]))
        assert batch["request_counts"]["failed"] == 1
        text = (await client.get(f"/v1/files/{batch['error_file_id']}/content")).text
        assert json.loads(text)["response"]["status_code"] == 500
        assert "secret" not in text
        assert "failed unexpectedly" in caplog.text
        await ask(client)


async def test_a_dead_engine_leaves_the_batch_to_the_next_start(engine: FakeEngine, settings: Settings) -> None:
    async with in_process(engine, settings) as client:
        engine.hold(after=100)
        batch = await start(client, LINES)
        await engine.until(lambda: engine.steps_taken == 100)
        await engine.die()
        dying = (await client.get(f"/v1/batches/{batch['id']}")).json()
        assert dying["status"] == "in_progress"
        assert 0 < dying["request_counts"]["completed"] < len(LINES)
        assert dying["request_counts"]["failed"] == 0
    async with in_process(FakeEngine(), settings) as client:
        batch = await until_finished(client, batch)
        assert sorted(await custom_ids(client, batch["output_file_id"])) == sorted(line["custom_id"] for line in LINES)
    assert batch["request_counts"] == {"total": 60, "completed": 60, "failed": 0}


async def test_a_stopped_server_leaves_the_batch_to_the_next(engine: FakeEngine, settings: Settings) -> None:
    async with in_process(engine, settings) as client:
        engine.hold(after=100)
        batch = await start(client, LINES)
        await engine.until(lambda: engine.steps_taken == 100)
    assert engine.in_flight == 0
    first = prompts(engine)
    other = FakeEngine()
    async with in_process(other, settings) as client:
        batch = await until_finished(client, batch)
    # Those that were in work are asked again, and nothing else is.
    assert len(set(first) & set(prompts(other))) <= 4
    assert len(set(first) | set(prompts(other))) == 60


async def test_a_batch_that_takes_too_long_expires(engine: FakeEngine, settings: Settings, tmp_path: Path) -> None:
    async with in_process(engine, settings) as client:
        engine.hold(after=100)
        batch = await start(client, LINES)
        await engine.until(lambda: engine.steps_taken == 100)
    with closing(sqlite3.connect(tmp_path / "data" / "batches.sqlite3", isolation_level=None)) as database:
        database.execute("UPDATE batches SET expires_at = created_at")
    async with in_process(FakeEngine(), settings) as client:
        batch = await until_finished(client, batch)
        done, not_run = [await custom_ids(client, batch[name]) for name in ("output_file_id", "error_file_id")]
        text = (await client.get(f"/v1/files/{batch['error_file_id']}/content")).text
    assert batch["status"] == "expired"
    assert batch["expired_at"]
    assert len(done) == batch["request_counts"]["completed"] > 0
    assert sorted(done + not_run) == sorted(line["custom_id"] for line in LINES)
    assert {json.loads(line)["error"]["code"] for line in text.splitlines()} == {"batch_expired"}


@pytest.mark.parametrize(("left", "found"), [("validating", "completed"), ("cancelling", "cancelled")])
async def test_a_batch_is_taken_up_where_it_was(
    engine: FakeEngine, settings: Settings, tmp_path: Path, left: str, found: str
) -> None:
    """As a kill would leave it, right after the change of its status."""
    async with in_process(engine, settings) as client:
        engine.hold()
        batch = await start(client, LINES)
        await engine.until(lambda: engine.in_flight == 4)
    with closing(sqlite3.connect(tmp_path / "data" / "batches.sqlite3", isolation_level=None)) as database:
        database.execute("UPDATE batches SET status = ?", (left,))
        if left == "validating":
            database.execute("DELETE FROM requests")
    async with in_process(FakeEngine(), settings) as client:
        batch = await until_finished(client, batch)
        file_id = batch["output_file_id"] if found == "completed" else batch["error_file_id"]
        assert sorted(await custom_ids(client, file_id)) == sorted(line["custom_id"] for line in LINES)
    assert batch["status"] == found


async def test_a_full_disk_delays_the_end(
    engine: FakeEngine,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``/dev/full`` in place of the first output file that is written."""
    monkeypatch.setattr("qwenvl.api.batches.runner._STORAGE_WAIT", 0)
    monkeypatch.setattr("qwenvl.api.batches.output_files.new_id", lambda prefix: f"{prefix}full")
    async with in_process(engine, settings) as client:
        await client.get("/v1/files")
        (tmp_path / "data" / "files" / "file-full").symlink_to("/dev/full")
        batch = await until_finished(client, await start(client, LINES[:3]))
        assert sorted(await custom_ids(client, batch["output_file_id"])) == ["line 0", "line 1", "line 2"]
    assert sum("is paused" in record.getMessage() for record in caplog.records) == 1


@contextmanager
def server(data_dir: Path, steps: int) -> Iterator[tuple[subprocess.Popen[str], openai.OpenAI]]:
    command = [sys.executable, "-m", "tests.api.batches.serve", str(data_dir), str(steps)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        try:
            url = read_until(running, SERVING)[1]
            with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as ai:
                yield running, ai
        finally:
            running.kill()


def answers(ai: openai.OpenAI, batch: Batch) -> dict[str, Any]:
    found = {**outcome(ai, batch.output_file_id), **outcome(ai, batch.error_file_id)}
    return {name: line["response"]["body"].get("choices", "error") for name, line in found.items()}


def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lines = [*LINES, request_line("wrong", temperature=3)]
    with server(tmp_path / "whole", steps=-1) as (_, ai):
        undisturbed = answers(ai, finished(ai, begin(ai, lines)))
    assert len(undisturbed) == 61
    with server(tmp_path / "killed", steps=150) as (running, ai):
        batch = wait_for(ai, begin(ai, lines), lambda now: bool(now.request_counts and now.request_counts.completed))
        running.kill()
        running.wait(PATIENCE)
    with closing(sqlite3.connect(tmp_path / "killed" / "batches.sqlite3")) as database:
        query = "SELECT custom_id, result FROM requests WHERE result IS NOT NULL"
        done = {custom_id: json.loads(text) for custom_id, text in database.execute(query)}
    assert 0 < len(done) < 61
    with server(tmp_path / "killed", steps=-1) as (_, ai):
        batch = finished(ai, batch)
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 61, "completed": 60, "failed": 1}
        assert answers(ai, batch) == undisturbed
        found = {**outcome(ai, batch.output_file_id), **outcome(ai, batch.error_file_id)}
    assert {custom_id: found[custom_id] for custom_id in done} == done
