"""A process that tries grammars out, so that one that hangs, explodes or crashes does so away from the engine.

``python -m qwenvl.engine.grammar_process VOCABULARY VOCAB_SIZE SECONDS`` reads one JSON object a line, ``{"id", "kind",
"text"}`` with kind ``json``, ``regex``, ``ebnf`` or ``lark``, and answers each in any order: ``{"id", "error",
"grammar"}``, of which the last is what to use instead, if anything. Each is tried in a fork of its own, under limits
that the operating system keeps.
"""

import contextlib
import json
import os
import random
import re
import resource
import selectors
import signal
import sys
import time
from typing import Any, NoReturn

import numpy as np
import psutil
import xgrammar

from qwenvl.chat import Vocabulary
from qwenvl.model_executor.grammar import tokenizer_info

PARSE_SECONDS = 0.1
"""Of computing. vLLM parses each grammar once more, on the event loop."""
TOKEN_MILLISECONDS = 30
"""Of computing, on average, to find what may follow a token. The whole batch waits for it at every step."""
MEMORY_MIB = 1024
"""Of address space while compiling."""
COMPILED_MIB = 64
TRIED_TOKENS = 48

MOST_WHITE_SPACE = 5
"""Signs in a row between the parts of a JSON value: a line end and two levels of indentation. Without a limit a model
that was never taught JSON may write nothing else to the end."""

_FAILED = "it cannot be compiled"
_POLITENESS = 5
_BOUNDED = r"(([^\"\\\r\n]))"
_BOUNDED_AND_VALID = r"(([^\0-\x1f\"\\]))"
"""A character of a JSON string whose length is bounded. xgrammar 0.2 takes control characters there that JSON forbids
(https://github.com/mlc-ai/xgrammar/issues/800), so such answers could not be parsed. It can go with that."""


def main() -> None:
    """Serve until standard input ends."""
    vocabulary_file, vocab_size, seconds = sys.argv[1:]
    os.nice(_POLITENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trials = _Trials(tokenizer_info(Vocabulary.from_file(vocabulary_file), int(vocab_size)), float(seconds))
    requests, pending = sys.stdin.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                received = os.read(key.fd, 1 << 16)
                if key.fd != requests:
                    if not trials.receive(key.fd, received):
                        selector.unregister(key.fd)
                        os.close(key.fd)
                    continue
                if not received:
                    trials.end()
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    selector.register(trials.begin(json.loads(line)), selectors.EVENT_READ)


class _Trials:
    """The forks that run, by the pipes their outcomes come through."""

    def __init__(self, info: xgrammar.TokenizerInfo, seconds: float) -> None:
        self._info = info
        self._seconds = seconds
        self._running: dict[int, tuple[Any, int, bytearray]] = {}

    def begin(self, task: dict[str, Any]) -> int:
        """Try a grammar in a fork; the pipe to read."""
        result, answer = os.pipe()
        process = os.fork()
        if process == 0:
            self._run(task, answer)
        os.close(answer)
        self._running[result] = task["id"], process, bytearray()
        return result

    def receive(self, result: int, received: bytes) -> bool:
        """Take a piece of an outcome; False at its end, when it has been told."""
        task_id, process, outcome = self._running[result]
        outcome += received
        if received:
            return True
        del self._running[result]
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status):
            timed_out = os.WTERMSIG(status) == signal.SIGPROF
            failure = f"it takes more than {self._seconds:g} s to prepare" if timed_out else _FAILED
            outcome = bytearray(json.dumps({"error": failure}).encode())
        print(json.dumps({"id": task_id, **json.loads(outcome)}), flush=True)
        return False

    def end(self) -> None:
        """End all forks, whose outcomes nobody waits for."""
        for _, process, _ in self._running.values():
            os.kill(process, signal.SIGKILL)

    def _run(self, task: dict[str, Any], answer: int) -> NoReturn:
        outcome: dict[str, str | None] = {"error": _FAILED}
        try:
            _limit(self._seconds)
            outcome = _trial(task["kind"], task["text"], self._info)
        except MemoryError:
            outcome = {"error": f"it needs more than {MEMORY_MIB} MiB to prepare"}
        except Exception as failure:
            outcome = {"error": _reason(str(failure))}
        finally:
            # Nothing of the parent's may be flushed or torn down a second time.
            with os.fdopen(answer, "wb") as pipe:
                pipe.write(json.dumps(outcome).encode())
            os._exit(0)


def _limit(seconds: float) -> None:
    size = psutil.Process().memory_info().vms + (MEMORY_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing handles the signal: it ends the process in the middle of native code too.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    # xgrammar prints its warnings to standard output, which is not its own here.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())


def _trial(kind: str, text: str, info: xgrammar.TokenizerInfo) -> dict[str, str | None]:
    """What is wrong with a grammar, if anything, and what to use instead."""
    instead = None
    if kind == "json":
        written = xgrammar.Grammar.from_json_schema(text, max_whitespace_cnt=MOST_WHITE_SPACE)
        instead = text = str(written).replace(_BOUNDED, _BOUNDED_AND_VALID)
    began = time.process_time()
    grammar, error = _parse(kind, text), None
    if time.process_time() - began > PARSE_SECONDS:
        error = f"it takes more than {PARSE_SECONDS} s to parse"
    else:
        compiled = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False).compile_grammar(grammar)
        if compiled.memory_size_bytes > COMPILED_MIB << 20:
            error = f"it takes more than {COMPILED_MIB} MiB once prepared"
        elif _milliseconds_a_token(xgrammar.GrammarMatcher(compiled), info.vocab_size) > TOKEN_MILLISECONDS:
            error = f"it takes more than {TOKEN_MILLISECONDS} ms for each token of an answer"
    return {"error": error, "grammar": instead}


def _parse(kind: str, text: str) -> xgrammar.Grammar:
    match kind:
        case "regex":
            return xgrammar.Grammar.from_regex(text)
        case "lark":
            return xgrammar.Grammar.from_lark(text)
    return xgrammar.Grammar.from_ebnf(text)


def _milliseconds_a_token(matcher: xgrammar.GrammarMatcher, vocab_size: int) -> float:
    """Follow a random answer for a while."""
    choose = random.Random(0)
    mask = xgrammar.allocate_token_bitmask(1, vocab_size)
    taken, tokens = 0.0, 0
    while tokens < TRIED_TOKENS and not matcher.is_terminated():
        began = time.process_time()
        matcher.fill_next_token_bitmask(mask)
        taken += time.process_time() - began
        tokens += 1
        allowed = np.flatnonzero(np.unpackbits(mask.numpy().view(np.uint8), bitorder="little"))
        if not len(allowed):
            break
        began = time.process_time()
        matcher.accept_token(int(choose.choice(allowed)))
        taken += time.process_time() - began
    return taken / max(tokens, 1) * 1000


def _reason(message: str) -> str:
    """What xgrammar says, without the time and the source line that it puts before."""
    line = next((line for line in message.splitlines() if line.strip()), _FAILED)
    return re.sub(r"^\[[\d:]+\] \S+: ", "", line).rstrip(". ")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
