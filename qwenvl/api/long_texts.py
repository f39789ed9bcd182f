"""Texts that cannot fit the context, refused before the slow parts: normalising and tokenising."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qwenvl.engine import ModelInfo
from qwenvl.errors import ContextLengthError, UserError

NFC_SHRINKS = 4
"""Most times that NFC shortens a text, in bytes: 3.5, rounded up. U+1FBE U+0308 U+0301, 7 bytes, are U+0390, 2."""


def refuse_hopeless(texts: Sequence[tuple[str, str]], info: ModelInfo, prompt_param: str) -> None:
    """Refuse the texts of one prompt if they would not fit even if all their tokens were the longest there is.

    Args:
        texts: each with the request field that holds it.
        info: the model that they are for.
        prompt_param: the request field that holds all of them.

    Raises:
        ContextLengthError: they do not fit.
        UserError: a text cannot be normalised; ``param`` is its field.
    """
    # What to normalise is bounded first; then the text is measured as the tokenizer sees it.
    _refuse_longer(sum(len(text.encode()) for _, text in texts), info, prompt_param, shrinks=NFC_SHRINKS)
    n_bytes = 0
    for param, text in texts:
        with naming(param):
            n_bytes += len(info.vocabulary.normalize(text).encode())
    _refuse_longer(n_bytes, info, prompt_param)


@contextmanager
def naming(param: str) -> Iterator[None]:
    """Name the field of a refusal that names none: the vocabulary knows of texts, not of requests."""
    try:
        yield
    except UserError as error:
        if error.param is not None:
            raise
        message = f"{param}: {error.message.removesuffix('.')}."
        raise UserError(message, param=param, code=error.code or "invalid_value") from error


def _refuse_longer(n_bytes: int, info: ModelInfo, prompt_param: str, *, shrinks: int = 1) -> None:
    at_least = n_bytes // (shrinks * info.vocabulary.longest_token)
    if at_least > info.max_model_len:
        raise ContextLengthError(
            f"This model's maximum context length is {info.max_model_len} tokens. However, your {prompt_param} holds "
            f"{n_bytes} bytes of text, which are more than {at_least} tokens. Please reduce its length.",
            param=prompt_param,
        )
