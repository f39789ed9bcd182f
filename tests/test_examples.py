"""Examples that need no server."""

import re
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from qwenvl.demo.scores import boxes_in, overlap

PROJECT = Path(__file__).parents[1]

OBJECTS = {
    name: (x1 / 640, y1 / 420, x2 / 640, y2 / 420)
    for name, (x1, y1, x2, y2) in {
        "red circle": (70, 110, 261, 301),
        "blue square": (330, 70, 501, 241),
        "green triangle": (420, 270, 601, 381),
    }.items()
}
"""What is in examples/shapes.png and where, as shares of the picture."""
RED_CIRCLE = OBJECTS["red circle"]


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    """The small model's answers are right, and drawn."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / "quickstart.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, found, counted, *_, grounded = done.stdout.strip().splitlines()
    assert set(re.findall(r"(\w+) (circle|square|triangle)", said)) == {
        ("red", "circle"),
        ("blue", "square"),
        ("green", "triangle"),
    }
    (box,) = boxes_in(found)
    assert overlap(box, RED_CIRCLE) > 0.5
    assert "3" in counted
    picture = PROJECT / "examples" / "shapes.png"
    assert f"Picture 1:<img>{picture}</img>\nGenerate the caption in English with grounding:" in done.stdout
    assert "<imgpad>" not in done.stdout
    assert max(overlap(box, RED_CIRCLE) for box in boxes_in(grounded)) > 0.5
    for name in ("1.jpg", "2.jpg"):
        with PIL.Image.open(tmp_path / name) as drawn:
            assert drawn.size == (640, 420)
