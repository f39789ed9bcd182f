"""Vocabularies and the ids the original tokenizer gives."""

import json
from pathlib import Path
from typing import Any

import dashscope

_GOLDEN = Path(__file__).parent / "data" / "golden"

GOLDEN: dict[str, Any] = json.loads((_GOLDEN / "tokenizer_golden.json").read_text(encoding="utf-8"))
PUBLISHED = Path(dashscope.__file__).parent / "resources" / "qwen.tiktoken"
"""The released vocabulary, from a package that ships it."""
SMALL = _GOLDEN / "tiny-448" / "qwen.tiktoken"
