"""Where the images of a request are, before they are fetched."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where an image is, and which request field says so."""

    url: str
    param: str
