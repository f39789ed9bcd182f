"""``qwenvl chat`` as people meet it: typed into in a terminal, piped into, and with one question."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import PIL.Image
import pytest

from qwenvl.api import Settings
from qwenvl.grounding.drawing import COLORS
from tests.api.live import LiveServer
from tests.fake_engine import FakeEngine, model_info
from tests.scripted_engine import ScriptedEngine
from tests.terminal.talking import save_picture
from tests.terminal.terminals import (
    ALT_ENTER,
    CTRL_C,
    CTRL_D,
    ENTER,
    PATIENCE,
    chat_command,
    chat_environment,
    run_chat,
    terminal,
)

FOUND = "<ref>红色圆形</ref><box>(100,200),(500,900)</box>"


@pytest.fixture
def live() -> Iterator[LiveServer]:
    info = model_info(max_model_len=8192)
    with LiveServer(ScriptedEngine(FOUND, "Two\x1b[2J words.", info=info), Settings()) as live:
        yield live


class Held:
    """A server whose engine stops after three steps, until it is released."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.live = LiveServer(self.engine, Settings(), patience=PATIENCE)

    def hold(self) -> None:
        async def hold() -> None:
            self.engine.hold(after=3)

        self.live.call(hold())

    def until_asked(self, requests: int) -> None:
        """Wait until so many requests came, and the last has taken its three steps."""
        self.live.call(
            self.engine.until(lambda: len(self.engine.requests) == requests and self.engine.steps_taken >= 3 * requests)
        )

    def prompt(self, request: int) -> str:
        return self.engine.info.vocabulary.decode(self.engine.requests[request].token_ids)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    with held.live:
        held.hold()
        yield held


def test_a_conversation(live: LiveServer, tmp_path: Path) -> None:
    save_picture(tmp_path / "a photo.jpg", (400, 800), orientation=6)
    with terminal("--base-url", live.url, "--image", "missing.png", cwd=tmp_path) as chat:
        chat.expect("qwenvl: cannot read the picture missing.png: No such file")
        chat.expect(f"tiny on {live.url}/v1; /help")
        chat.type(f"/image a photo.jpg{ENTER}")
        chat.expect("with the next question: a photo.jpg, 800 x 400")
        chat.type(f"框出图中红色圆形的位置{ENTER}")
        chat.expect(r"红色圆形 \[80,80 400,360\]\n")
        chat.type(f"/save found.png{ENTER}")
        chat.expect("saved found.png")
        chat.type(f"/sav{ENTER}")
        chat.expect("did you mean /save")
        chat.type(f"One{ALT_ENTER}question{ENTER}")
        chat.expect(r"Two\[2J words\.\n")
        # Before the prompt is there, Ctrl-C would be about the answer.
        chat.expect(">")
        chat.type(f"never asked{CTRL_C}")
        chat.type(CTRL_D)
        assert chat.wait() == 0
    with PIL.Image.open(tmp_path / "found.png") as drawn:
        assert drawn.size == (800, 400)
        assert drawn.getpixel((80, 200)) == COLORS[0]


def test_ctrl_c_stops_an_answer_and_keeps_the_chat(held: Held, tmp_path: Path) -> None:
    with terminal("--base-url", held.live.url, cwd=tmp_path) as chat:
        chat.expect("/help lists commands")
        chat.type(f"Hello{ENTER}")
        held.until_asked(1)
        chat.type(f"typed {CTRL_C}")
        chat.expect(r"\(stopped\)")
        held.live.call(held.engine.until(lambda: len(held.engine.aborted) == 1))
        held.hold()
        chat.type(f"ahead{ENTER}")
        held.until_asked(2)
        assert "typed ahead" in held.prompt(1)
        chat.type(CTRL_C)
        chat.expect(r"\(stopped\)")
        chat.expect(">")
        chat.type(CTRL_C)
        assert chat.wait() == 0


def test_the_server_goes_and_the_chat_stays(tmp_path: Path) -> None:
    server = LiveServer(ScriptedEngine("Yes."), Settings())
    with ExitStack() as serving, terminal("--base-url", server.url, cwd=tmp_path) as chat:
        serving.enter_context(server)
        chat.type(f"Hello?{ENTER}")
        chat.expect(r"Yes\.\n")
        serving.close()
        chat.type(f"Still there?{ENTER}")
        chat.expect(f"qwenvl: cannot reach {server.url}/v1: ")
        chat.type(f"/retry{ENTER}")
        chat.expect(f"qwenvl: cannot reach {server.url}/v1: ")
        chat.type(f"/quit{ENTER}")
        assert chat.wait() == 0


def test_context_that_is_full(tmp_path: Path) -> None:
    info = model_info(max_model_len=64)
    with LiveServer(ScriptedEngine("Yes.", info=info), Settings()) as live:
        done = run_chat(["--base-url", live.url], tmp_path, f"{'word ' * 100}\nShort?\n")
    assert "maximum context length is 64" in done.stderr
    assert "/reset begins a new conversation" in done.stderr
    assert (done.stdout, done.returncode) == ("Yes.\n", 1)


def test_one_question(live: LiveServer, tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", (1000, 1000))
    done = run_chat(["--base-url", live.url, "--image", "a.png", "Where?"], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("红色圆形 [100,200 500,900]\n", "", 0)


def test_piped_lines(live: LiveServer, tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", (1000, 1000))
    lines = "红色圆形在哪里？\n\n/save found.png\nHello\n"
    done = run_chat(["--base-url", live.url, "--image", "a.png"], tmp_path, lines)
    assert done.stdout == "红色圆形 [100,200 500,900]\nTwo[2J words.\n"
    assert (done.stderr, done.returncode) == ("saved found.png\n", 0)
    assert run_chat(["--base-url", live.url], tmp_path).returncode == 0, "nothing was asked"
    assert run_chat(["--base-url", live.url], tmp_path, "/nothing\n").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "URL", "--image", "missing.png", "What?"], "cannot read the picture missing.png"),
        (["--base-url", "URL", "--model", "nobody", "What?"], "'nobody' does not exist here"),
        (["--base-url", "http://127.0.0.1:9", "What?"], "cannot reach http://127.0.0.1:9/v1"),
        (["./nowhere", "What?"], "there is no directory ./nowhere"),
    ],
)
def test_failures_are_told_in_a_line(live: LiveServer, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_chat([live.url if argument == "URL" else argument for argument in arguments], tmp_path)
    assert done.stderr.startswith("qwenvl: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", 1)


def test_sigint_ends_a_single_question(held: Held, tmp_path: Path) -> None:
    command = chat_command("--base-url", held.live.url, "Hello")
    environment = chat_environment()
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as chat:
        held.until_asked(1)
        chat.send_signal(signal.SIGINT)
        _, told = chat.communicate(timeout=60)
    assert (chat.returncode, told) == (130, b"")


def test_whoever_reads_may_leave(live: LiveServer, tmp_path: Path) -> None:
    command = chat_command("--base-url", live.url, "Hello")
    with subprocess.Popen(
        command, cwd=tmp_path, env=chat_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as chat:
        assert chat.stdout is not None
        assert chat.stderr is not None
        chat.stdout.close()
        assert chat.stderr.read() == b""
        assert chat.wait(60) == 1
