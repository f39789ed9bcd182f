"""One exception tree for the whole package.

Whatever a user can mend derives from :class:`UserError` and names the field and the limit; the API turns it into
an OpenAI error object at its edge. Whatever stops a checkpoint from loading is a :class:`CheckpointError`, and
whatever the engine cannot do any more is an :class:`EngineError`.
"""


class QwenVLError(Exception):
    """Base of every exception this package raises on purpose."""


class UserError(QwenVLError):
    """The request is at fault.

    Args:
        message: what is wrong and what to change, in one or two sentences.
        param: the request field at fault, in the client's own spelling (``messages[0].content[1].image_url``).
        code: a short machine-readable reason, as OpenAI names it where it has a name.
    """

    status = 400

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class ContextLengthError(UserError):
    """The prompt, or prompt and answer together, do not fit the context."""

    def __init__(self, message: str, *, param: str | None = "messages") -> None:
        super().__init__(message, param=param, code="context_length_exceeded")


class ImageError(UserError):
    """An image that cannot be fetched, is refused, or is not a picture we read."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_image") -> None:
        super().__init__(message, param=param, code=code)


class ModelNotFoundError(UserError):
    """The model named in the request is not served here."""

    status = 404

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model", code="model_not_found")


class CheckpointError(QwenVLError, ValueError):
    """A checkpoint that cannot be loaded: the message names the file and the key or tensor at fault.

    It is a ``ValueError`` too, since callers of ``from_pretrained`` expect one.
    """


class EngineError(QwenVLError):
    """The engine failed; no change to the request will help."""


class EngineBusyError(EngineError):
    """The engine takes no more requests just now; the same one may succeed later."""


class EngineDeadError(EngineError):
    """The engine process is gone, and so is every request it held."""
