"""CIDEr over PTB-tokenised captions, by the COCO caption evaluation's own code (the package ``pycocoevalcap``).

The tokenizer is Stanford's, a Java program that comes with the package.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from qwenvl.errors import UserError


def require_cider() -> None:
    """See that captions can be scored on this machine.

    Raises:
        UserError: the package or Java is missing; the message says how to get it.
    """
    try:
        import pycocoevalcap.cider.cider  # noqa: F401
    except ImportError as error:
        raise UserError("captions are scored by pycocoevalcap: pip install 'qwenvl[evaluate]'") from error
    if shutil.which("java") is None:
        raise UserError("captions are tokenised by a Java program: install a Java runtime (java is not on the PATH)")


def cider(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The score of each picture, times 100; their mean is the corpus's.

    Args:
        predictions: the caption of each picture. How rare a word is follows from these pictures' references alone.
        references: what people wrote of each.

    Raises:
        UserError: as :func:`require_cider`, or the tokenizer does not run.
    """
    require_cider()
    from pycocoevalcap.cider.cider import Cider

    if not predictions:
        return {}
    said = _tokenised({key: [predictions[key]] for key in predictions})
    heard = _tokenised({key: list(references[key]) for key in predictions})
    if not any(map(any, heard.values())):
        return dict.fromkeys(predictions, 0.0)
    _, scores = Cider().compute_score(heard, said)
    return {key: 100 * float(score) for key, score in zip(heard, scores, strict=True)}


def _tokenised(captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # A line ends a caption for the tokenizer, and an empty last one would be lost.
    wrapped: dict[str, list[dict[str, Any]]] = {
        key: [{"caption": " ".join(text.split()) or "."} for text in texts] for key, texts in captions.items()
    }
    try:
        tokenised: dict[str, list[str]] = PTBTokenizer().tokenize(wrapped)
    except OSError as error:
        # It writes what it hands to Java beside its own code.
        raise UserError(f"captions cannot be tokenised: {error}") from error
    said = any(sign.isalnum() for texts in captions.values() for text in texts for sign in text)
    missing = any(len(tokenised.get(key, ())) != len(texts) for key, texts in captions.items())
    # It does not look at Java's exit code, and a Java that fails prints nothing.
    if missing or (said and not any(map(any, tokenised.values()))):
        raise UserError("captions cannot be tokenised: what java printed is on the standard error")
    return tokenised
