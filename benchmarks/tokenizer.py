"""Encoding and decoding a megabyte of mixed text: raw tiktoken, the vocabulary, and the transformers tokenizer.

    python -m benchmarks.tokenizer

All three split and merge with the same library, so their ratio is what the wrapping costs.
"""

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import tiktoken

from benchmarks import environment
from benchmarks.timing import median_seconds
from qwenvl.chat import Vocabulary
from qwenvl.chat.vocabulary import SPLIT_PATTERN
from qwenvl.demo.vocabulary import corpus

BOXES = "<ref>红色圆形</ref><box>(105,210),(315,420)</box> The colour is naïve-red 🙂.\n"
TEXT_BYTES = 1_000_000

Call = Callable[[], object]


def published_vocabulary() -> Path:
    """The published ``qwen.tiktoken``, out of the ``dashscope`` package."""
    return Path(str(files("dashscope").joinpath("resources", "qwen.tiktoken")))


def mixed_text(size: int) -> str:
    """At least ``size`` bytes of English, Chinese, code, boxes and accents."""
    page = corpus() + BOXES * 20
    return page * (size // len(page.encode()) + 1)


def contenders(path: Path, text: str) -> tuple[dict[str, Call], dict[str, Call]]:
    """Calls that encode ``text``, and calls that decode its tokens."""
    # Imported here: a run that only asks for help need not wait for transformers.
    from qwenvl.model_executor.tokenizer import QWenTokenizer

    vocabulary = Vocabulary.from_file(path)
    tokenizer = QWenTokenizer(str(path))
    ranks = {token: rank for token, rank in vocabulary.tokens() if rank < vocabulary.n_ranks}
    raw = tiktoken.Encoding("raw", pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens=vocabulary.special_ids)
    token_ids = vocabulary.encode_text(text)
    encode: dict[str, Call] = {
        "tiktoken": lambda: raw.encode(text, allowed_special="all"),
        "Vocabulary.encode_text": lambda: vocabulary.encode_text(text),
        "Vocabulary.encode_ordinary": lambda: vocabulary.encode_ordinary(text),
        "QWenTokenizer.encode": lambda: tokenizer.encode(text),
    }
    decode: dict[str, Call] = {
        "tiktoken": lambda: raw.decode(token_ids),
        "Vocabulary.decode": lambda: vocabulary.decode(token_ids),
        "Vocabulary.decode, no control tokens": lambda: vocabulary.decode(token_ids, skip_control=True),
        "QWenTokenizer.decode": lambda: tokenizer.decode(token_ids),
    }
    return encode, decode


def table(path: Path, size: int, repeats: int) -> str:
    """Markdown, one row a contender; ratios are over raw tiktoken's time for the same direction."""
    text = mixed_text(size)
    rows = ["| direction | with | MB/s | time / tiktoken |", "| --- | --- | --: | --: |"]
    encode, decode = contenders(path, text)
    megabytes = len(text.encode()) / 1e6
    for direction, calls in (("encode", encode), ("decode", decode)):
        seconds = median_seconds(calls, repeats)
        rows += [
            f"| {direction} | {name} | {megabytes / value:.2f} | {value / seconds['tiktoken']:.2f} |"
            for name, value in seconds.items()
        ]
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path, metavar="FILE", help="default: the one in the dashscope package")
    parser.add_argument("--bytes", type=int, default=TEXT_BYTES, help="of text (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args(argv)
    print(f"{environment.cpu_model()}, tiktoken {version('tiktoken')}\n")
    print(table(args.vocabulary or published_vocabulary(), args.bytes, args.repeats))


if __name__ == "__main__":
    main()
