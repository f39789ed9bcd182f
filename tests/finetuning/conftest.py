from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.finetuning.checkpoints import write_data, write_pictures, write_tiny


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What trains here is so small that threads cost more than they do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three colours to learn, with their pictures beside them."""
    write_pictures(tmp_path)
    return write_data(tmp_path / "train.json")
