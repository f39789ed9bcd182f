from pathlib import Path

import pytest

from qwenvl.api.batches.contents import create, save, write
from qwenvl.api.batches.errors import StorageFullError


def test_all_is_written_where_only_we_can_read_it(tmp_path: Path) -> None:
    with create(tmp_path / "file") as file:
        assert write(file, "漢") + write(file, b"x" * 2**20) == 3 + 2**20
        save(file)
    assert (tmp_path / "file").read_bytes() == "漢".encode() + b"x" * 2**20
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_full_disk() -> None:
    with create(Path("/dev/full")) as file, pytest.raises(StorageFullError):
        write(file, b"x")
