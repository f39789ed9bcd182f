import json
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import pytest
from openai.types import Batch, Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from qwenvl.api import Settings
from tests.api.batches.inputs import begin, finished, jsonl, outcome, request_line, sdk, upload, wait_for
from tests.api.chatting import CHAT, ask, body, error_of
from tests.api.live import LiveServer, data_url, in_process
from tests.fake_engine import FakeEngine

BATCHES = "/v1/batches"


def test_a_batch_answers_every_request(ai: openai.OpenAI, engine: FakeEngine) -> None:
    lines = [request_line(f"line {number}", f"Say {number}") for number in range(20)]
    batch = finished(ai, begin(ai, lines))
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 20, "completed": 20, "failed": 0}
    assert batch.in_progress_at
    assert batch.finalizing_at
    assert batch.completed_at
    assert batch.expires_at == batch.created_at + 24 * 3600
    answers = outcome(ai, batch.output_file_id)
    assert set(answers) == {f"line {number}" for number in range(20)}
    usage = [0, 0]
    for number in range(20):
        line = answers[f"line {number}"]
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        answer = ChatCompletion.model_validate(line["response"]["body"], strict=True)
        alone = ai.chat.completions.create(model="tiny", messages=[{"role": "user", "content": f"Say {number}"}])
        assert answer.choices[0].message == alone.choices[0].message
        assert answer.usage is not None
        usage = [usage[0] + answer.usage.prompt_tokens, usage[1] + answer.usage.completion_tokens]
    assert batch.usage is not None
    assert [batch.usage.input_tokens, batch.usage.output_tokens] == usage
    assert batch.usage.total_tokens == sum(usage)
    file = ai.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert {request.priority for request in engine.requests[:20]} == {1}


@pytest.mark.parametrize(
    ("endpoint", "wire", "kind"),
    [
        ("/v1/completions", {"model": "tiny", "prompt": "Once"}, Completion),
        ("/v1/responses", {"model": "tiny", "input": "Hello"}, Response),
    ],
)
def test_other_endpoints(
    ai: openai.OpenAI,
    endpoint: Literal["/v1/completions", "/v1/responses"],
    wire: dict[str, Any],
    kind: type[BaseModel],
) -> None:
    file = upload(ai, jsonl([{"custom_id": "a", "method": "POST", "url": endpoint, "body": wire}]))
    batch = ai.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    batch = finished(ai, batch)
    answer = outcome(ai, batch.output_file_id)["a"]["response"]["body"]
    kind.model_validate(answer, strict=True)
    assert batch.usage is not None
    assert batch.usage.total_tokens == answer["usage"]["total_tokens"] > 0


def test_refused_requests_go_to_the_error_file(ai: openai.OpenAI, images: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": data_url((images / "a.png").read_bytes())}}
    lines = [
        request_line("good"),
        request_line("with a picture", [picture, {"type": "text", "text": "What is this?"}]),
        request_line("too hot", temperature=3),
        request_line("elsewhere", model="other"),
        request_line("refused", "refuse me"),
        {"custom_id": "empty", "method": "POST", "url": CHAT, "body": {}},
    ]
    batch = finished(ai, begin(ai, lines))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 6, "completed": 2, "failed": 4}
    assert set(outcome(ai, batch.output_file_id)) == {"good", "with a picture"}
    failures = outcome(ai, batch.error_file_id)
    responses = {custom_id: line["response"] for custom_id, line in failures.items()}
    assert {name: found["status_code"] for name, found in responses.items()} == {
        "too hot": 400,
        "elsewhere": 404,
        "refused": 400,
        "empty": 400,
    }
    assert responses["too hot"]["body"]["error"]["param"] == "temperature"
    assert responses["elsewhere"]["body"]["error"]["code"] == "model_not_found"
    assert {line["error"] for line in failures.values()} == {None}


def test_where_all_requests_fail_there_is_no_output(ai: openai.OpenAI) -> None:
    batch = finished(ai, begin(ai, [request_line("a", temperature=3)]))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert set(outcome(ai, batch.error_file_id)) == {"a"}


def test_lines_are_lines_to_every_reader(ai: openai.OpenAI) -> None:
    odd = "a\u2028b\u0085c\x0bd\x1ee 漢字 \U0001f600"
    batch = finished(ai, begin(ai, [request_line(odd)]))
    assert set(outcome(ai, batch.output_file_id)) == {odd}


def test_a_wrong_input_fails_the_batch(ai: openai.OpenAI, engine: FakeEngine) -> None:
    content = b"\n".join(
        [
            jsonl([request_line("a")]).strip(),
            b"not json",
            jsonl([request_line("a")]).strip(),
            b"[]",
            b"",
            jsonl([request_line("b", url="/v1/completions")]).strip(),
            jsonl([request_line("c", stream=True)]).strip(),
            jsonl([{**request_line("d"), "method": "GET"}]).strip(),
            jsonl([{"method": "POST", "url": CHAT, "body": {}}]).strip(),
            jsonl([{**request_line("e"), "body": "text"}]).strip(),
            jsonl([request_line("")]).strip(),
            b'{"custom_id": "\xff"}',
        ]
    )
    batch = finished(ai, begin(ai, content))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.failed_at
    assert batch.errors is not None
    assert [(error.line, error.code, error.param) for error in batch.errors.data or []] == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "invalid_json_line", None),
        (6, "url_mismatch", "url"),
        (7, "invalid_value", "body.stream"),
        (8, "invalid_value", "method"),
        (9, "missing_required_parameter", "custom_id"),
        (10, "invalid_type", "body"),
        (11, "invalid_value", "custom_id"),
        (12, "invalid_utf8", None),
    ]
    assert all(error.message for error in batch.errors.data or [])
    assert not engine.requests


def test_a_file_without_requests_fails_the_batch(ai: openai.OpenAI) -> None:
    batch = finished(ai, begin(ai, b"\n \r\n"))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [error.code for error in batch.errors.data or []] == ["empty_file"]


def test_metadata_and_lists(ai: openai.OpenAI) -> None:
    file = upload(ai, jsonl([request_line("a")]))
    made = [
        ai.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"number": str(number)}
        )
        for number in range(3)
    ]
    assert [batch.status for batch in made] == ["validating"] * 3
    for batch in made:
        assert finished(ai, batch).status == "completed"
    assert [batch.metadata for batch in ai.batches.list(limit=2)] == [{"number": n} for n in "210"]
    page = ai.batches.list(limit=2)
    assert page.has_more
    assert [batch.id for batch in page.data] == [made[2].id, made[1].id]
    assert [batch.id for batch in ai.batches.list(after=made[1].id)] == [made[0].id]


def test_output_can_be_told_to_expire(ai: openai.OpenAI) -> None:
    file = upload(ai, jsonl([request_line("a")]))
    batch = ai.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    output = ai.files.retrieve(finished(ai, batch).output_file_id or "")
    assert output.expires_at == output.created_at + 3600


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"input_file_id": "../../etc/passwd"}, "input_file_id"),
        ({"input_file_id": 3}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": "a"}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
async def test_bad_requests_for_a_batch(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    file = (await client.post("/v1/files", data={"purpose": "batch"}, files={"file": b"{}"})).json()
    good = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    response = await client.post(BATCHES, json={**good, **fields})
    assert response.status_code == 400
    assert error_of(response)["param"] == param
    await ask(client)
    Batch.model_validate((await client.post(BATCHES, json=good)).json(), strict=True)


async def test_long_metadata_keys(client: httpx.AsyncClient) -> None:
    response = await client.post(BATCHES, json={"metadata": {"k" * 65: "v"}})
    assert response.status_code == 400


@pytest.mark.parametrize("name", ["batch_none", "%2e%2e", "x" * 5000, "a'b"])
async def test_names_that_are_none(client: httpx.AsyncClient, name: str) -> None:
    for method, path in (("GET", name), ("POST", f"{name}/cancel")):
        response = await client.request(method, f"{BATCHES}/{path}")
        assert response.status_code == 404
        error_of(response)


def test_a_key_has_so_many_unfinished_batches(
    ai: openai.OpenAI, engine: FakeEngine, live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwenvl.api.batches.batch_table.MAX_UNFINISHED", 2)
    live.call_soon(engine.hold)
    file = upload(ai, jsonl([request_line("a")]))

    def create() -> Batch:
        return ai.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")

    batches = [create(), create()]
    with pytest.raises(openai.BadRequestError) as refused:
        create()
    assert refused.value.code == "too_many_batches"
    live.call_soon(engine.release)
    for batch in batches:
        finished(ai, batch)
    assert finished(ai, create()).status == "completed"


def test_the_output_of_one_batch_is_no_input_of_the_next(ai: openai.OpenAI) -> None:
    batch = finished(ai, begin(ai, [request_line("a")]))
    with pytest.raises(openai.BadRequestError, match="purpose"):
        ai.batches.create(input_file_id=batch.output_file_id or "", endpoint=CHAT, completion_window="24h")


def test_cancelling_keeps_what_is_done(ai: openai.OpenAI, engine: FakeEngine, live: LiveServer) -> None:
    live.call_soon(lambda: engine.hold(after=40))
    batch = begin(ai, [request_line(f"line {number}", max_tokens=5) for number in range(30)])
    batch = wait_for(ai, batch, lambda now: bool(now.request_counts and now.request_counts.completed))
    live.call(engine.until(lambda: engine.steps_taken == 40))
    cancelled = ai.batches.cancel(batch.id)
    assert cancelled.status == "cancelling"
    assert cancelled.cancelling_at
    batch = finished(ai, batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    done, not_run = outcome(ai, batch.output_file_id), outcome(ai, batch.error_file_id)
    assert batch.request_counts is not None
    assert len(done) == batch.request_counts.completed > 0
    assert {line["error"]["code"] for line in not_run.values()} == {"batch_cancelled"}
    assert set(done) | set(not_run) == {f"line {number}" for number in range(30)}
    assert len(done) + len(not_run) == 30
    live.call(engine.until(lambda: engine.in_flight == 0))
    assert ai.batches.cancel(batch.id) == batch
    live.call_soon(engine.release)
    assert ai.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hello"}])


def test_what_has_ended_is_not_cancelled(ai: openai.OpenAI) -> None:
    batch = finished(ai, begin(ai, [request_line("a")]))
    with pytest.raises(openai.ConflictError) as refused:
        ai.batches.cancel(batch.id)
    assert refused.value.code == "batch_not_cancellable"


def test_a_batch_keeps_its_input(ai: openai.OpenAI, engine: FakeEngine, live: LiveServer, tmp_path: Path) -> None:
    live.call_soon(engine.hold)
    batch = begin(ai, [request_line(f"line {number}") for number in range(10)])
    live.call(engine.until(lambda: engine.in_flight == 4))
    assert ai.files.delete(batch.input_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        ai.files.content(batch.input_file_id)
    live.call_soon(engine.release)
    batch = finished(ai, batch)
    assert len(outcome(ai, batch.output_file_id)) == 10
    folder = tmp_path / "data" / "files"
    wait_for(ai, batch, lambda _: [path.name for path in folder.iterdir()] == [batch.output_file_id])


def test_others_batches_are_not_there(engine: FakeEngine, settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys.ann]\nkey = "ann-key-0123456789"\n[keys.bob]\nkey = "bob-key-0123456789"\n')
    named = settings.model_copy(update={"api_key_file": keys})
    with (
        LiveServer(engine, named) as live,
        sdk(live, "ann-key-0123456789") as ann,
        sdk(live, "bob-key-0123456789") as bob,
    ):
        batch = begin(ann, [request_line("a")])
        assert not bob.batches.list().data
        for name in (bob.batches.retrieve, bob.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                name(batch.id)
        with pytest.raises(openai.BadRequestError, match="There is no file"):
            bob.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
        output = finished(ann, batch).output_file_id or ""
        with pytest.raises(openai.NotFoundError):
            bob.files.content(output)
        assert set(outcome(ann, output)) == {"a"}


async def test_rates_of_a_key_do_not_hold_for_its_batches(engine: FakeEngine, settings: Settings) -> None:
    narrow = settings.model_copy(update={"tokens_per_minute": 1, "requests_per_minute": 2})
    async with in_process(engine, narrow) as client:
        content = jsonl([request_line(str(number)) for number in range(5)])
        file = (await client.post("/v1/files", data={"purpose": "batch"}, files={"file": content})).json()
        wire = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        batch = (await client.post(BATCHES, json=wire)).json()
        while batch["status"] != "completed":
            batch = (await client.get(f"{BATCHES}/{batch['id']}")).json()
        assert batch["request_counts"] == {"total": 5, "completed": 5, "failed": 0}
        assert (await client.post(CHAT, json=body())).status_code == 429
        found = await client.get(f"/v1/files/{batch['output_file_id']}/content")
        assert len([json.loads(line) for line in found.text.splitlines()]) == 5
