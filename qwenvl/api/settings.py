"""What an operator can set about the API. The engine has its own options; the command line fills both."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MEBIBYTE = 2**20

ApiKey = Annotated[SecretStr, Field(min_length=1)]


class Settings(BaseModel):
    """Settings of one server, checked once. Sizes are in bytes, times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every interface."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_keys: tuple[ApiKey, ...] = Field(
        default=(), description="Keys, any of which opens the /v1 routes. With none, they are open to everyone."
    )
    max_body_bytes: int = Field(default=64 * MEBIBYTE, ge=1024, description="Largest request body.")
    max_n: int = Field(default=16, ge=1, le=128, description="Most answers to one request.")
    max_images: int = Field(
        default=16, ge=0, description="Most images in one request; the engine's own limit holds where it is lower."
    )
    max_image_bytes: int = Field(default=20 * MEBIBYTE, ge=1024, description="Largest image, as it is sent or fetched.")
    # Pillow itself warns past 89,478,485 pixels, and refuses at twice as many.
    max_image_pixels: int = Field(
        default=89_478_485, ge=1, le=178_956_970, description="Most pixels in one image, read from its header."
    )
    image_timeout: float = Field(
        default=10.0, gt=0, le=600, description="Time to fetch one image, from name lookup to the last byte."
    )
    image_threads: int = Field(
        default=4, ge=1, le=64, description="Images decoded at the same time, over all requests."
    )
    allow_private_addresses: bool = Field(
        default=False, description="Fetch images from loopback, private and link-local addresses too."
    )
    drain_timeout: float = Field(
        default=30.0, ge=0, le=3600, description="Time that running requests get to finish when the server stops."
    )
