from pathlib import Path

import openai
import pytest

from qwenvl.api import Settings
from tests.api.batches.inputs import finished, jsonl, outcome, request_line, sdk, upload
from tests.api.live import LiveServer
from tests.api.responses.answering import RESPONSES, body


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_responses_of_batches_are_not_stored(live: LiveServer) -> None:
    with sdk(live) as ai:
        first = ai.responses.create(model="tiny", input="Hello")
        line = request_line("next", url=RESPONSES) | {"body": body("And now?", previous_response_id=first.id)}
        file = upload(ai, jsonl([line]))
        batch = ai.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
        done = outcome(ai, finished(ai, batch).output_file_id)
        response = done["next"]["response"]["body"]
        assert response["status"] == "completed"
        assert response["store"] is False
        with pytest.raises(openai.NotFoundError):
            ai.responses.retrieve(response["id"])
