"""Examples that need no server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.golden import CHECKPOINT

PROJECT = Path(__file__).parents[1]


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    """With a short answer of the golden checkpoint's."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, checkpoint)
    options = json.loads((checkpoint / "generation_config.json").read_text())
    (checkpoint / "generation_config.json").write_text(json.dumps(options | {"max_new_tokens": 12}))
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / "quickstart.py"), str(checkpoint)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    picture = PROJECT / "examples" / "shapes.png"
    assert f"Picture 1:<img>{picture}</img>\nGenerate the caption in English with grounding:" in done.stdout
    assert "<imgpad>" not in done.stdout
