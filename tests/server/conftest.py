from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.parity.golden import DATA
from tests.stack import Stack


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def images() -> Path:
    return DATA / "images"
