"""``import qwenvl`` before or after transformers: either way the Auto classes know the original checkpoints."""

import subprocess
import sys

import pytest

from tests.parity.golden import CHECKPOINT

pytestmark = pytest.mark.slow

USE = f"""
config = AutoConfig.from_pretrained({str(CHECKPOINT)!r}OPTIONS)
tokenizer = AutoTokenizer.from_pretrained({str(CHECKPOINT)!r}OPTIONS)
model = AutoModelForCausalLM.from_pretrained({str(CHECKPOINT)!r}OPTIONS)
print(type(config).__name__, type(tokenizer).__name__, type(model).__name__)
"""
ORDERS = {
    "before": "import qwenvl\nfrom transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer",
    "after": "from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer\nimport qwenvl",
}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", ["", ", trust_remote_code=True"])
def test_auto_classes(order: str, options: str) -> None:
    """The checkpoint names remote code, and has none: whoever looked for it would fail."""
    assert run(ORDERS[order] + USE.replace("OPTIONS", options)) == "QWenConfig QWenTokenizer QWenLMHeadModel"


def test_it_is_light() -> None:
    code = "import sys, qwenvl\nprint([name for name in ('transformers', 'torch', 'vllm') if name in sys.modules])"
    assert run(code) == "[]"
