"""Uploads: multipart forms whose file goes to disk as it comes."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import Request
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from qwenvl.api.batches.contents import create, save, write
from qwenvl.api.batches.errors import FileTooLargeError
from qwenvl.api.batches.form import FILE, MAX_FORM_BYTES, FormReader, no_form
from qwenvl.api.batches.schemas import UploadFields
from qwenvl.api.errors import ClientDisconnectedError, MediaTypeError
from qwenvl.api.validation import explain
from qwenvl.errors import UserError

_MAX_NAME = 255
_WRITTEN_BYTES = 2**20
_NESTED = re.compile(r"(\w+)\[(\w+)\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload whose content is in its place."""

    filename: str
    size: int
    fields: UploadFields


async def receive_upload(request: Request, path: Path, max_bytes: int) -> Upload:
    """Read a form, and write its file to ``path``. What is there after an error is the caller's to remove.

    Raises:
        UserError: it is no form, its fields are wrong, or the file is too large.
        StorageFullError: there is no room.
        ClientDisconnectedError: the client left in the middle.
    """
    form = FormReader(_boundary(request))
    size = 0
    with await anyio.to_thread.run_sync(create, path) as file:
        async with aclosing(_body(request, max_bytes)) as body:
            async for piece in body:
                form.feed(piece)
                if size + len(form.content) > max_bytes:
                    raise FileTooLargeError(max_bytes)
                if len(form.content) >= _WRITTEN_BYTES:
                    size += await anyio.to_thread.run_sync(write, file, form.take())
        form.finish()
        size += await anyio.to_thread.run_sync(write, file, form.take())
        await anyio.to_thread.run_sync(save, file)
    if size == 0:
        raise UserError("file must not be empty.", param=FILE, code="invalid_value")
    return Upload(_label(form.filename), size, _read_fields(form.fields))


def _boundary(request: Request) -> bytes:
    media_type, options = parse_options_header(request.headers.get("content-type"))
    if media_type != b"multipart/form-data":
        raise MediaTypeError("The body must be a form, sent with 'Content-Type: multipart/form-data'.")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 200:
        raise no_form()
    return boundary


async def _body(request: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    announced = request.headers.get("content-length", "")
    limit = max_bytes + MAX_FORM_BYTES
    # By the number of digits first: Python refuses to read thousands of them.
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise FileTooLargeError(max_bytes)
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            if received > limit:
                raise FileTooLargeError(max_bytes)
            yield piece
    except ClientDisconnect:
        raise ClientDisconnectedError from None


def _read_fields(texts: dict[str, str]) -> UploadFields:
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if nested := _NESTED.fullmatch(name):
            group = values.get(nested[1])
            if not isinstance(group, dict):
                group = values[nested[1]] = {}
            # Forms know no numbers.
            group[nested[2]] = int(text) if text.isdecimal() and len(text) < 10 else text
        else:
            values[name] = text
    try:
        return UploadFields.model_validate(values)
    except ValidationError as error:
        raise explain(error) from None


def _label(filename: str | None) -> str:
    """A file name to show: no path, nothing that breaks a header or a line."""
    name = _CONTROL.sub("", re.split(r"[/\\]", filename or "")[-1])
    return name[:_MAX_NAME] or "upload.jsonl"
