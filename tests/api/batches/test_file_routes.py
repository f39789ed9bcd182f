import http.client
import time
from pathlib import Path

import httpx
import openai
import pytest

from qwenvl.api import Settings
from tests.api.batches.inputs import sdk, upload
from tests.api.chatting import ask, error_of
from tests.api.live import LiveServer, in_process
from tests.fake_engine import FakeEngine

FILES = "/v1/files"
BATCH = {"purpose": "batch"}


def test_a_file_comes_back_as_it_was(ai: openai.OpenAI, tmp_path: Path) -> None:
    content = bytes(range(256)) * 300
    file = ai.files.create(file=("../my файл.jsonl", content), purpose="batch")
    assert file.filename == "my файл.jsonl"
    assert (file.bytes, file.purpose, file.status, file.expires_at) == (len(content), "batch", "processed", None)
    assert ai.files.retrieve(file.id) == file
    assert ai.files.content(file.id).read() == content
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "data", tmp_path / "data" / "files")] == [0o700] * 2
    assert ai.files.delete(file.id).deleted
    assert not list((tmp_path / "data" / "files").iterdir())
    for gone in (ai.files.retrieve, ai.files.content, ai.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(file.id)


def test_lists_have_pages(ai: openai.OpenAI) -> None:
    ids = [upload(ai, b"{}").id for _ in range(4)]
    assert [file.id for file in ai.files.list()] == ids[::-1]
    assert [file.id for file in ai.files.list(order="asc", limit=3)] == ids
    first = ai.files.list(limit=3)
    assert first.has_more
    assert [file.id for file in first.data] == ids[:0:-1]
    assert [file.id for file in ai.files.list(after=ids[1])] == ids[:1]
    assert not ai.files.list(purpose="batch_output").data
    assert len(ai.files.list(purpose="batch").data) == 4


def test_a_file_can_be_told_to_expire(ai: openai.OpenAI) -> None:
    file = ai.files.create(file=b"{}", purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    with pytest.raises(openai.BadRequestError) as short:
        ai.files.create(file=b"{}", purpose="batch", expires_after={"anchor": "created_at", "seconds": 10})
    assert short.value.param == "expires_after.seconds"


async def test_an_expired_file_is_gone(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    form = {**BATCH, "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = (await client.post(FILES, data=form, files={"file": b"{}"})).json()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert (await client.get(f"{FILES}/{file['id']}")).status_code == 404
    assert not (await client.get(FILES)).json()["data"]


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune", "vision", "user_data", "evals"])
def test_other_purposes_are_refused(ai: openai.OpenAI, purpose: str) -> None:
    with pytest.raises(openai.BadRequestError, match="purpose must be 'batch'") as refused:
        ai.files.create(file=b"{}", purpose=purpose)  # type: ignore[arg-type]
    assert refused.value.param == "purpose"
    assert not ai.files.list().data


def test_a_key_has_so_many_files(ai: openai.OpenAI) -> None:
    files = [upload(ai, b"{}") for _ in range(5)]
    with pytest.raises(openai.BadRequestError) as refused:
        upload(ai, b"{}")
    assert refused.value.code == "too_many_files"
    ai.files.delete(files[0].id)
    upload(ai, b"{}")


@pytest.mark.parametrize("size", [99_999, 100_000])
def test_files_up_to_the_limit(ai: openai.OpenAI, size: int) -> None:
    assert upload(ai, b"x" * size).bytes == size


@pytest.mark.parametrize("size", [100_001, 165_000, 10_000_000])
async def test_larger_files_are_refused(client: httpx.AsyncClient, tmp_path: Path, size: int) -> None:
    response = await client.post(FILES, data=BATCH, files={"file": b"x" * size})
    assert response.status_code == 413
    assert error_of(response)["code"] == "file_too_large"
    assert not list((tmp_path / "data" / "files").iterdir())
    await ask(client)


def test_an_endless_upload_is_ended(live: LiveServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.putrequest("POST", FILES)
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n', encode_chunked=True
    )
    sent = 0
    with pytest.raises(ConnectionError):  # noqa: PT012 - whichever write meets the closed connection
        while sent < 2**30:
            connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
    assert sent < 2**30
    connection.close()


def test_an_upload_that_breaks_off_leaves_nothing(live: LiveServer, ai: openai.OpenAI, tmp_path: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.putrequest("POST", FILES)
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", "50000")
    connection.endheaders(b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc')
    folder = tmp_path / "data" / "files"
    deadline = time.monotonic() + 20
    while not (folder.is_dir() and list(folder.iterdir())):
        assert time.monotonic() < deadline
    connection.close()
    while list(folder.iterdir()):
        assert time.monotonic() < deadline
    assert not ai.files.list().data


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a valid form"),
        (b"nonsense", "not a valid form"),
        (b"--b--\r\n", "file is required"),
        (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n', "file is required"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n{}\r\n--b--\r\n', "file must be sent as a file"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n{}\r\n--b--\r\n',
            "purpose is required",
        ),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n{}', "not a valid form"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n\r\n--b--\r\n', "must not be empty"),
        (
            b'--b\r\nContent-Disposition: form-data; name="other"; filename="f"\r\n\r\n{}\r\n--b--\r\n',
            "other must not be",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n{}\r\n' * 2 + b"--b--\r\n",
            "one file",
        ),
        (b"--b\r\n\r\n{}\r\n--b--\r\n", "must have a name"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 17 + b"--b--\r\n", "at most 16 parts"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 70_000, "at most 65536 bytes"),
        (b"--b\r\n" + b"X" * 70_000, "not a valid form"),
    ],
)
async def test_broken_forms(client: httpx.AsyncClient, tmp_path: Path, body: bytes, message: str) -> None:
    response = await client.post(FILES, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 400
    assert message in error_of(response)["message"]
    assert not list((tmp_path / "data" / "files").iterdir())


@pytest.mark.parametrize("media_type", ["application/json", "multipart/mixed; boundary=b", ""])
async def test_other_media_types(client: httpx.AsyncClient, media_type: str) -> None:
    response = await client.post(FILES, content=b"{}", headers={"Content-Type": media_type})
    assert response.status_code == 415
    error_of(response)


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'b' * 300}"])
async def test_boundaries(client: httpx.AsyncClient, boundary: str) -> None:
    response = await client.post(FILES, content=b"", headers={"Content-Type": "multipart/form-data" + boundary})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=file-none", "after"),
        ("after=", "after"),
    ],
)
async def test_bad_queries(client: httpx.AsyncClient, query: str, param: str) -> None:
    response = await client.get(f"{FILES}?{query}")
    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize("name", ["file-none", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "x" * 5000, "%00", "a'b"])
async def test_names_that_are_none(client: httpx.AsyncClient, name: str) -> None:
    for method, path in (("GET", name), ("DELETE", name), ("GET", f"{name}/content")):
        response = await client.request(method, f"{FILES}/{path}")
        assert response.status_code in (404, 405), response.text
        error_of(response)


def test_others_files_are_not_there(engine: FakeEngine, settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys.ann]\nkey = "ann-key-0123456789"\n[keys.bob]\nkey = "bob-key-0123456789"\n')
    mine = settings.model_copy(update={"api_key_file": keys})
    with (
        LiveServer(engine, mine) as live,
        sdk(live, "ann-key-0123456789") as ann,
        sdk(live, "bob-key-0123456789") as bob,
    ):
        file = upload(ann, b"{}")
        assert not bob.files.list().data
        for name in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                name(file.id)
        with pytest.raises(openai.BadRequestError, match="after"):
            bob.files.list(after=file.id)
        assert ann.files.retrieve(file.id) == file


async def test_files_survive_a_restart(engine: FakeEngine, settings: Settings, tmp_path: Path) -> None:
    async with in_process(engine, settings) as client:
        file = (await client.post(FILES, data=BATCH, files={"file": b"{}"})).json()
    (tmp_path / "data" / "files" / "file-stray").write_bytes(b"of an upload that a kill broke off")
    async with in_process(FakeEngine(), settings) as client:
        assert (await client.get(FILES)).json()["data"] == [file]
        assert (await client.get(f"{FILES}/{file['id']}/content")).content == b"{}"
    assert [path.name for path in (tmp_path / "data" / "files").iterdir()] == [file["id"]]
