"""``qwenvl chat`` with an engine of its own: the built-in checkpoint, asked about a drawn scene."""

import re
from pathlib import Path

import PIL.Image
import psutil
import pytest

from qwenvl.demo.scores import overlap
from qwenvl.grounding.drawing import COLORS
from tests.server.processes import PROJECT
from tests.terminal.terminals import CTRL_C, CTRL_D, ENTER, run_chat, terminal
from tests.test_examples import RED_CIRCLE

pytestmark = pytest.mark.slow

START_SECONDS = 240.0
SHAPES = str(PROJECT / "examples" / "shapes.png")


def shares(box: re.Match[str]) -> tuple[float, float, float, float]:
    """A box in pixels of examples/shapes.png, as shares of its sides."""
    x1, y1, x2, y2 = map(int, box.groups())
    return x1 / 640, y1 / 420, x2 / 640, y2 / 420


def test_a_scene(tmp_path: Path) -> None:
    with terminal("--image", SHAPES, "--temperature", "0", cwd=tmp_path, environment={"TMPDIR": str(tmp_path)}) as chat:
        chat.expect("importing vLLM")
        chat.expect("/help lists commands", START_SECONDS)
        (log,) = tmp_path.glob("qwenvl-chat-*.log")
        assert "Initializing a V1 LLM engine" in log.read_text()
        chat.type(f"What is in the picture?{ENTER}")
        chat.expect(r"[Aa] red circle, a blue square and a green triangle\.\n")
        chat.type(f"框出图中红色圆形的位置{ENTER}")
        box = chat.expect(r"红色圆形 \[(\d+),(\d+) (\d+),(\d+)\]\n")
        assert overlap(shares(box), RED_CIRCLE) > 0.5
        chat.type(f"/save found.jpg{ENTER}")
        chat.expect(r"saved found\.jpg")
        chat.type(CTRL_D)
        assert chat.wait() == 0
        assert "INFO" not in chat.text, "what vLLM prints is kept off the terminal"
    assert list(tmp_path.glob("*.log")) == []
    with PIL.Image.open(tmp_path / "found.jpg") as drawn, PIL.Image.open(SHAPES) as before:
        assert drawn.size == before.size
        left, middle = int(box[1]), (int(box[2]) + int(box[4])) // 2
        shown = drawn.getpixel((left, middle))
        assert max(abs(a - b) for a, b in zip(shown, COLORS[0], strict=True)) < 40, "JPEG's colours are near"


def test_an_engine_that_does_not_start_names_its_log(tmp_path: Path) -> None:
    # More memory than there is on any machine.
    environment = {"TMPDIR": str(tmp_path), "VLLM_CPU_KVCACHE_SPACE": "1000000"}
    done = run_chat(["Hello"], tmp_path, patience=START_SECONDS, **environment)
    (log,) = tmp_path.glob("qwenvl-chat-*.log")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "qwenvl: the engine did not start: " in done.stderr
    assert done.stderr.endswith(f"qwenvl: what the engine printed is in {log}\n")
    assert "Traceback" not in done.stderr
    assert "Traceback" in log.read_text()


def test_ctrl_c_while_it_loads(tmp_path: Path) -> None:
    with terminal(cwd=tmp_path, environment={"TMPDIR": str(tmp_path)}) as chat:
        chat.expect("starting the worker", START_SECONDS)
        children = psutil.Process(chat.process.pid).children(recursive=True)
        chat.type(CTRL_C)
        assert chat.wait() == 130
        _, left = psutil.wait_procs(children, timeout=20)
    assert not left
    assert "Traceback" not in chat.text
    assert list(tmp_path.glob("*.log")) == []
