import io
import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenvl.api.telemetry.logs import JsonFormatter, TextFormatter
from qwenvl.api.telemetry.record import RequestRecord, working_on
from tests.api.chatting import CHAT, body, image_part, text_part
from tests.api.live import PATIENCE, Pictures, data_url
from tests.api.telemetry.serve_logged import KEY

ROOT = Path(__file__).parent.parent.parent.parent

SECRET = "sesame"
"""Part of everything that clients send here, and that no log may hold."""


class Served:
    """The server of ``serve_logged``; its log is complete once it has stopped."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._start = ""
        assert process.stderr is not None
        for line in process.stderr:
            self._start += line
            if found := re.search(r"serving tiny on (http://[\d.:]+)", line):
                self.url = found[1]
                return
        raise AssertionError("the server did not start: " + self._start)

    def stop(self) -> str:
        self._process.send_signal(signal.SIGTERM)
        _, rest = self._process.communicate(timeout=PATIENCE)
        return self._start + rest


@contextmanager
def serving(log_format: str, log_level: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "tests.api.telemetry.serve_logged", log_format, log_level]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


async def use_everything(url: str, images: Path) -> None:
    """Requests of every outcome, each with the secret wherever a client can put one."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client, Pictures(images) as pictures:
        picture = data_url((images / "a.png").read_bytes())
        contents: list[Any] = [
            [text_part(SECRET), image_part(picture)],
            [text_part(SECRET), image_part(f"{pictures.url}/a.png?token={SECRET}")],
            [image_part(f"{pictures.url}/{SECRET}.png?token={SECRET}")],
            [image_part(f"{pictures.url}/redirect/http://127.0.0.1:1/?{SECRET}")],
            [image_part(f"http://{SECRET}:{SECRET}@127.0.0.1:1/{SECRET}")],
            [image_part(f"{SECRET}://{SECRET}")],
            [image_part(data_url(SECRET.encode() + bytes(100)))],
            [image_part(data_url((images / "a.png").read_bytes()[:300]))],
            f"refuse me, {SECRET}",
            f"raise ValueError {SECRET}",
            f"raise ValidationError {SECRET}",
            f"raise EngineError {SECRET}",
            f"raise later {SECRET}",
        ]
        for content in contents:
            for stream in (False, True):
                await client.post(CHAT, json=body(content, stream=stream, max_tokens=3, user=SECRET))
        await client.post(CHAT, json=body(model=SECRET))
        await client.post(CHAT, json=body(temperature=SECRET, **{SECRET: SECRET}))
        await client.post(CHAT, content=f'{{"messages": "{SECRET}'.encode())
        await client.post(CHAT, json=body(SECRET), headers={"Authorization": f"Bearer {SECRET}"})
        await client.post(CHAT, content=SECRET, headers={"Content-Type": SECRET, "x-request-id": f"{SECRET} {SECRET}"})
        await client.get(f"/{SECRET}?key={SECRET}")
        await client.get(f"/v1/models/{SECRET}?key={SECRET}")
        await client.get("/health", headers={"x-request-id": "asked-for-health"})
        await client.post(CHAT, json=body(), headers={"x-request-id": "the-last"})


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_logs_hold_nothing_of_requests(log_format: str, images: Path) -> None:
    with serving(log_format, "debug") as server:
        await use_everything(server.url, images)
        log = server.stop()
    assert SECRET not in log
    assert KEY not in log
    assert "iVBOR" not in log
    assert "a.png" not in log
    assert "ValueError" in log
    assert "the engine failed on this request" in log
    assert "the-last" in log


async def test_json_lines(images: Path) -> None:
    with serving("json", "info") as server:
        await use_everything(server.url, images)
        lines = [json.loads(line) for line in server.stop().splitlines()]
    assert all({"asctime", "levelname", "name", "message"} <= line.keys() for line in lines)
    answered = [line for line in lines if line["name"] == "qwenvl.access"]
    assert not [line for line in answered if line["route"] == "/health"]
    last = next(line for line in answered if line["request_id"] == "the-last")
    assert (
        last.items()
        >= {
            "method": "POST",
            "route": CHAT,
            "status": 200,
            "model": "tiny",
            "client": "127.0.0.1",
        }.items()
    )
    assert last["caller"]
    assert last["prompt_tokens"] > 0
    assert 0 < last["time_to_first_token"] <= last["duration"]
    assert answered[0]["images"] == 1
    assert {line.get("error_code") for line in answered} >= {
        None,
        "refused",
        "invalid_api_key",
        "model_not_found",
        "internal_error",
        "unknown_url",
    }
    failed = [line for line in lines if "exc_info" in line]
    assert failed
    assert all(line["exc_info"].startswith("Traceback") for line in failed)
    assert all(line["request_id"] for line in failed)


def written(formatter: logging.Formatter, message: str, *args: object, **options: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    record = logging.getLogger("qwenvl.test").makeRecord("qwenvl.test", logging.INFO, "f", 1, message, args, **options)
    handler.emit(record)
    return stream.getvalue()


def test_lines_cannot_be_forged() -> None:
    message = "a\nERROR forged\r\x1b[31m\x85\u2028"
    text = written(TextFormatter(), "%s", message, exc_info=None, extra={"fields": {"caller": message}})
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    line = written(JsonFormatter(), "%s", message, exc_info=None, extra={"fields": {"caller": message}})
    assert line.count("\n") == 1
    assert json.loads(line)["message"] == message


def test_lines_name_the_request_that_is_worked_on() -> None:
    with working_on(RequestRecord(request_id="r1")):
        assert written(TextFormatter(), "hello", exc_info=None).endswith("hello request_id=r1\n")
        assert json.loads(written(JsonFormatter(), "hello", exc_info=None))["request_id"] == "r1"
    assert "request_id" not in json.loads(written(JsonFormatter(), "hello", exc_info=None))
