"""``/v1/files``."""

import asyncio
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from qwenvl.api.batches.objects import FileDeleted, FileList, FileObject, new_id
from qwenvl.api.batches.schemas import FilesQuery
from qwenvl.api.batches.service import Batches
from qwenvl.api.batches.upload import Upload, receive_upload
from qwenvl.api.context import context_of
from qwenvl.api.errors import BodyTimeoutError
from qwenvl.api.queries import describe_query, read_query
from qwenvl.api.settings import Settings

PATH = "/v1/files"

_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer"},
    },
}
_CONTENT: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


def file_routes(batches: Batches) -> APIRouter:
    router = APIRouter(prefix=PATH, tags=["files"])

    @router.post(
        "", openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
    )
    async def create_file(request: Request) -> FileObject:
        """Upload the input of a batch."""
        files = (await batches.opened()).files
        owner = context_of(request).caller.name
        await files.check_room(owner)
        await files.sweep()
        file_id = new_id("file-")
        try:
            upload = await _receive(request, files.content_path(file_id), batches.settings)
            file = _describe(file_id, upload)
            await files.add(owner, file)
        except Exception:
            # Where it is cancelled instead, the file may be known by now; if not, the next start removes it.
            await files.discard((file_id,))
            raise
        return file

    @router.get("", openapi_extra=describe_query(FilesQuery))
    async def list_files(request: Request) -> FileList:
        """The files there are, the newest first."""
        files = (await batches.opened()).files
        found, has_more = await files.page(context_of(request).caller.name, read_query(request, FilesQuery))
        first, last = (found[0].id, found[-1].id) if found else (None, None)
        return FileList(data=found, first_id=first, last_id=last, has_more=has_more)

    @router.get("/{file_id}")
    async def retrieve_file(file_id: str, request: Request) -> FileObject:
        """What is known of a file."""
        return await (await batches.opened()).files.get(context_of(request).caller.name, file_id)

    @router.get("/{file_id}/content", response_class=StreamingResponse, responses={200: _CONTENT})
    async def retrieve_content(file_id: str, request: Request) -> StreamingResponse:
        """The file itself."""
        files = (await batches.opened()).files
        file = await files.get(context_of(request).caller.name, file_id)
        headers = {"Content-Length": str(await files.size(file)), "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(files.read(file), media_type="application/octet-stream", headers=headers)

    @router.delete("/{file_id}")
    async def delete_file(file_id: str, request: Request) -> FileDeleted:
        """Delete a file. A batch that reads it goes on."""
        await (await batches.opened()).files.delete(context_of(request).caller.name, file_id)
        return FileDeleted(id=file_id)

    return router


async def _receive(request: Request, path: Path, settings: Settings) -> Upload:
    try:
        async with asyncio.timeout(settings.request_timeout):
            return await receive_upload(request, path, settings.max_file_bytes)
    except TimeoutError:
        raise BodyTimeoutError(settings.request_timeout) from None


def _describe(file_id: str, upload: Upload) -> FileObject:
    now = int(time.time())
    lifetime = upload.fields.expires_after.seconds if upload.fields.expires_after else None
    return FileObject(
        id=file_id,
        bytes=upload.size,
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
        filename=upload.filename,
        purpose=upload.fields.purpose,
    )
