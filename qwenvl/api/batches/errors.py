"""What goes wrong with files and batches."""

from qwenvl.api.errors import OverloadedError
from qwenvl.api.validation import shorten
from qwenvl.errors import UserError

_RETRY_SECONDS = 5


class BatchesUnavailableError(OverloadedError):
    """The directory of files and batches cannot be used; the other routes can. The reason is for the log."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, code="batches_unavailable", retry_after=_RETRY_SECONDS)
        self.reason = reason


class StorageFullError(OverloadedError):
    """The disk of the data directory is full."""

    def __init__(self) -> None:
        super().__init__(
            "The server has no room to store this. Delete files, or try again later.",
            code="storage_full",
            retry_after=_RETRY_SECONDS,
        )


class NotFoundError(UserError):
    """The caller has no file or batch of this name."""

    status = 404


class FileTooLargeError(UserError):
    """The upload passes the limit."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The file is larger than the limit of {limit} bytes. Split it.", param="file", code="file_too_large"
        )


class NotCancellableError(UserError):
    """The batch has ended."""

    status = 409


def no_file(file_id: str) -> NotFoundError:
    return NotFoundError(f"There is no file {shorten(file_id)}.", param="file_id", code="file_not_found")


def no_batch(batch_id: str) -> NotFoundError:
    return NotFoundError(f"There is no batch {shorten(batch_id)}.", param="batch_id", code="batch_not_found")
