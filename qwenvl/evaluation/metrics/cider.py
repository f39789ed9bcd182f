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
        UserError: :func:`require_cider`.
    """
    require_cider()
    from pycocoevalcap.cider.cider import Cider

    if not predictions:
        return {}
    said = _tokenised({key: [predictions[key]] for key in predictions})
    heard = _tokenised({key: list(references[key]) for key in predictions})
    _, scores = Cider().compute_score(heard, said)
    return {key: 100 * float(score) for key, score in zip(heard, scores, strict=True)}


def _tokenised(captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # A line ends a caption for the tokenizer, and an empty last one would be lost.
    wrapped: dict[str, list[dict[str, Any]]] = {
        key: [{"caption": " ".join(text.split()) or "."} for text in texts] for key, texts in captions.items()
    }
    tokenised: dict[str, list[str]] = PTBTokenizer().tokenize(wrapped)
    return tokenised
