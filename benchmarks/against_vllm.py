"""This server beside vLLM's own with the plugin: same checkpoint, same engine options, same load, in turns.

    python -m benchmarks.against_vllm --output benchmarks/results/2026-01-31-epyc-2-core-vllm

Starts both, runs :mod:`benchmarks.serving` with ``--pair`` for each kind of picture, and writes one result file a kind.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from benchmarks import serving
from qwenvl.demo.checkpoint import built_in_checkpoint

PATIENCE_SECONDS = 600
NAME = "benchmark"


@contextlib.contextmanager
def server(module: str, arguments: Sequence[str], log: Path) -> Iterator[str]:
    """``python -m module`` on a free port, from its first answer to the end of the block; gives its base URL.

    Raises:
        SystemExit: it does not come up; its log says why.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    # Both get every core: vLLM keeps one for the front end where this is not set, and ``qwenvl serve`` does not.
    environment = {**os.environ, "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"a server ended with {process.returncode}: see {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health").is_success:
                return
        time.sleep(0.5)
    sys.exit(f"a server was not up within {PATIENCE_SECONDS} s: see {log}")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 1 where any request failed."""
    args, load_options = parse_args(argv)
    checkpoint = args.model or str(built_in_checkpoint())
    engine = ["--served-model-name", NAME, *args.engine]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    ours_log, theirs_log = (args.output.with_name(f"{args.output.name}-{who}.log") for who in ("ours", "vllm"))
    status = 0
    with (
        server("qwenvl.cli", ["serve", checkpoint, *engine], ours_log) as ours,
        server("vllm.entrypoints.openai.api_server", ["--model", checkpoint, *engine], theirs_log) as theirs,
    ):
        for images in args.images:
            print(f"\n## images: {images}\n", flush=True)
            options = ["--base-url", ours, "--pair", theirs, "--label", "qwenvl", "--pair-label", "vllm"]
            result = args.output.with_name(f"{args.output.name}-{images}.json")
            status |= serving.main([*options, "--images", images, "--output", str(result), *load_options])
    ours_log.unlink()
    theirs_log.unlink()
    return status


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and those that go to the load generator."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Every other option goes to benchmarks.serving.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="default: the built-in checkpoint")
    parser.add_argument("--images", nargs="+", choices=("none", "same", "distinct"), default=["none", "distinct"])
    parser.add_argument(
        "--engine",
        nargs="+",
        type=lambda option: f"--{option}",
        default=["--enforce-eager", "--kv-cache-memory-bytes=2G"],
        metavar="OPTION",
        help="engine options of both, without their dashes (default: enforce-eager kv-cache-memory-bytes=2G)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="PREFIX", help="of the result files")
    return parser.parse_known_args(argv)


if __name__ == "__main__":
    sys.exit(main())
