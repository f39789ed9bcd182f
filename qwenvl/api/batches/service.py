"""The whole of files and batches, opened when it is first needed."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread

from qwenvl.api.batches.batch_table import BatchTable
from qwenvl.api.batches.data_dir import DATABASE, DataDir, default_data_dir, unavailable
from qwenvl.api.batches.database import Database
from qwenvl.api.batches.errors import BatchesUnavailableError, StorageFullError
from qwenvl.api.batches.execution import Execution
from qwenvl.api.batches.files import Files
from qwenvl.api.batches.job_table import JobTable
from qwenvl.api.batches.runner import Runner
from qwenvl.api.gateway import Gateway
from qwenvl.api.operation import Operation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """What is there while the directory is held."""

    data_dir: DataDir
    database: Database
    files: Files
    table: BatchTable
    runner: Runner


class Batches:
    """Files and batches of one server.

    Args:
        gateway: where the requests of batches go.
        operations: what batches can ask for.
    """

    def __init__(self, gateway: Gateway, operations: Sequence[Operation]) -> None:
        self.operations = {operation.path: operation for operation in operations}
        self.settings = gateway.settings
        self._gateway = gateway
        self._path = gateway.settings.data_dir or default_data_dir()
        self._opening = asyncio.Lock()
        self._opened: Opened | None = None
        self._last_reason = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Go on with the batches that the last server left, and leave this one's to the next.

        Where there never were any, nothing is made on disk before the first request for files or batches.
        """
        try:
            if await anyio.to_thread.run_sync(os.path.exists, self._path / DATABASE):
                await self._try_to_open()
            yield
        finally:
            await self._close()

    async def opened(self) -> Opened:
        """Files and batches, once their directory is held.

        Raises:
            BatchesUnavailableError: another server holds it, or it cannot be used. The next call tries again.
        """
        async with self._opening:
            if self._opened is None:
                try:
                    self._opened = await self._open()
                except BatchesUnavailableError as error:
                    self._warn(error.reason)
                    raise
            return self._opened

    async def _try_to_open(self) -> None:
        try:
            await self.opened()
        except BatchesUnavailableError:
            # Logged, and told to whoever asks for files or batches. The rest of the server needs none.
            return

    async def _open(self) -> Opened:
        data_dir = await anyio.to_thread.run_sync(DataDir, self._path)
        database = Database(data_dir.database)
        try:
            await database.open()
            files = Files(database, data_dir, self.settings.max_files)
            await files.sweep_strays()
            await files.sweep()
            runner = Runner(self._gateway, JobTable(database), files, Execution(self.operations))
            await runner.resume()
        except (OSError, sqlite3.Error, StorageFullError) as error:
            await database.close()
            data_dir.close()
            raise unavailable(self._path, error) from error
        return Opened(data_dir, database, files, BatchTable(database), runner)

    async def _close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await opened.runner.stop()
            await opened.database.close()
            opened.data_dir.close()

    def _warn(self, reason: str) -> None:
        """Once for each reason, not for each request."""
        if reason != self._last_reason:
            self._last_reason = reason
            logger.warning("/v1/files and /v1/batches are not available: %s", reason)
