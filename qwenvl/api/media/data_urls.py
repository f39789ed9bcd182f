"""Images inside of requests: ``data:image/png;base64,...``."""

import base64
import binascii

_WHITESPACE = b" \t\r\n"
# What base64 content may hold that some clients write in percent-encoding.
_ENCODED = {b"%0a": b"", b"%0d": b"", b"%20": b"", b"%2b": b"+", b"%2f": b"/", b"%3d": b"="}


class DataUrlError(Exception):
    """The URL holds no content. The message is for the client."""


class ContentTooLargeError(Exception):
    """The content is larger than the limit."""


def decode_data_url(url: str, max_bytes: int) -> bytes:
    """The content of a base64 data URL. Its media type is not believed: the content says what it is.

    Raises:
        DataUrlError: not a data URL with base64 content.
        ContentTooLargeError: more than ``max_bytes``.
    """
    head, comma, encoded_content = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise DataUrlError("must be a data URL of the form data:image/png;base64,<content>.")
    try:
        letters = encoded_content.encode("ascii").translate(None, _WHITESPACE)
        for code, letter in _ENCODED.items() if b"%" in letters else ():
            letters = letters.replace(code, letter).replace(code.upper(), letter)
        if len(letters) > 4 * (max_bytes // 3 + 1):
            raise ContentTooLargeError
        content = base64.b64decode(letters, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise DataUrlError("must be a data URL whose content is valid base64.") from None
    if len(content) > max_bytes:
        raise ContentTooLargeError
    return content
