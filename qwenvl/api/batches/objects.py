"""OpenAI's objects for files and batches, and the lines of a batch's output."""

from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel

FilePurpose = Literal["batch", "batch_output"]

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

ENDED: tuple[BatchStatus, ...] = ("failed", "completed", "expired", "cancelled")
"""What a batch's status ends with."""


def new_id(prefix: str) -> str:
    return prefix + uuid4().hex


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: FilePurpose
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Problem(BaseModel):
    """Why a line of an input file, or the file, is no request. Lines count from 1, blank ones too."""

    code: str
    line: int | None
    message: str
    param: str | None


class Problems(BaseModel):
    object: Literal["list"] = "list"
    data: list[Problem]


class RequestCounts(BaseModel):
    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    cached_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: Literal[0] = 0


class BatchUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class Batch(BaseModel):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: Problems | None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class OutputResponse(BaseModel):
    """What the endpoint would have answered, an error object too."""

    status_code: int
    request_id: str
    body: dict[str, Any]


class OutputError(BaseModel):
    """Why a request was not sent to its endpoint."""

    code: str
    message: str


class OutputLine(BaseModel):
    id: str
    custom_id: str
    response: OutputResponse | None
    error: OutputError | None
