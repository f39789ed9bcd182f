"""What clients send to ``/v1/files`` and ``/v1/batches``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qwenvl.api.wire import WireModel

MAX_CUSTOM_ID = 512
MIN_EXPIRY = 3600
MAX_EXPIRY = 30 * 24 * 3600
"""Seconds that a file can be told to live, as OpenAI has it."""

MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class ExpiresAfter(WireModel):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=MIN_EXPIRY, le=MAX_EXPIRY)


class CreateBatch(WireModel):
    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class InputLine(WireModel):
    """One line of an input file."""

    custom_id: str = Field(min_length=1, max_length=MAX_CUSTOM_ID)
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


class _Query(BaseModel):
    # Not strict: values of a query are strings.
    model_config = ConfigDict(extra="ignore")


class FilesQuery(_Query):
    after: str | None = None
    limit: int = Field(10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


class BatchesQuery(_Query):
    after: str | None = None
    limit: int = Field(20, ge=1, le=100)


class UploadFields(BaseModel):
    """The fields of an upload beside the file."""

    model_config = ConfigDict(extra="ignore")

    purpose: Literal["batch"]
    expires_after: ExpiresAfter | None = None
