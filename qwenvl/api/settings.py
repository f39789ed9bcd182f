"""What an operator can set about the API. The engine has its own options; the command line fills both."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    ValidationInfo,
    field_validator,
)

from qwenvl.api.access.keys import HashedKey, hash_key
from qwenvl.api.context import KeyLimits
from qwenvl.engine import AdapterSource
from qwenvl.engine.adapters import read_source
from qwenvl.errors import UserError

MEBIBYTE = 2**20

# Given as text, kept as a digest: the text goes no further than this.
ApiKey = Annotated[HashedKey, BeforeValidator(hash_key)]
# A host name, with *. or . before it for the names below it, or an IP address.
Domain = Annotated[str, Field(pattern=r"^((\*?\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+)$")]
Origin = Annotated[str, Field(min_length=1)]


def _lower(value: object) -> object:
    """Lower case, since vLLM writes its levels in capitals and one option sets both."""
    return value.lower() if isinstance(value, str) else value


def _adapter(value: object) -> object:
    """``NAME=FOLDER`` as an adapter's name and folder."""
    try:
        return read_source(value) if isinstance(value, str) else value
    except UserError as error:
        raise ValueError(error.message) from None


def _each_name_once(adapters: tuple[AdapterSource, ...]) -> tuple[AdapterSource, ...]:
    names = [adapter.name for adapter in adapters]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two adapters are named {twice!r}: each needs a name of its own")
    return adapters


Loras = Annotated[tuple[Annotated[AdapterSource, BeforeValidator(_adapter)], ...], AfterValidator(_each_name_once)]


class Settings(BaseModel):
    """Settings of one server, checked once. Sizes are in bytes, times in seconds; None is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Server
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every interface."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    max_body_bytes: int = Field(default=64 * MEBIBYTE, ge=1024, description="Largest request body.")
    body_timeout: float = Field(
        default=60.0, gt=0, le=3600, description="Time for a request's headers to arrive, and again for its body."
    )
    drain_delay: float = Field(
        default=1.0,
        ge=0,
        le=600,
        description="Time between SIGTERM, which makes /ready fail, and the end of listening for connections.",
    )
    drain_timeout: float = Field(
        default=30.0, ge=0, le=3600, description="Time that running requests get to finish when the server stops."
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(),
        description="Origins whose pages may call the API from a browser, * for any. With none, CORS is off.",
    )
    web: bool = Field(default=True, description="Serve a page to chat on at /, which needs no key; its requests do.")

    # Keys and limits
    api_keys: tuple[ApiKey, ...] = Field(
        default=(),
        description="Keys, any of which opens every route but the health checks and the page. With none, all are open.",
    )
    api_key_file: Path | None = Field(default=None, description="TOML file of named keys, each with its own limits.")
    admin_keys: tuple[ApiKey, ...] = Field(
        default=(), description="Keys that may also load and unload adapters. With one, every route wants a key."
    )
    requests_per_minute: int | None = Field(default=None, ge=1, description="Requests of one key in a minute.")
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens of one key in a minute, prompts and answers together."
    )
    concurrent_requests: int | None = Field(default=None, ge=1, description="Requests of one key at a time.")
    max_running: int = Field(
        default=1024, ge=1, description="Requests in work at a time, from their images to their last token."
    )
    max_queued: int = Field(default=1024, ge=0, description="Requests that may wait for their turn to be among these.")
    queue_timeout: float = Field(default=60.0, gt=0, le=3600, description="Time that a request may wait for its turn.")
    request_timeout: float = Field(
        default=600.0, gt=0, le=86400, description="Time that one request may take from its turn to its last token."
    )
    max_n: int = Field(default=16, ge=1, le=128, description="Most answers to one request.")

    # Adapters
    lora: Loras = Field(
        default=(), description="LoRA adapters to serve, each as NAME=FOLDER; model: NAME in a request selects one."
    )
    lora_dir: DirectoryPath | None = Field(
        default=None,
        description="Directory that admin keys may load adapters from while the server runs. With none, none are.",
    )

    # Images
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
    image_fetches: int = Field(
        default=64, ge=1, le=1024, description="Images fetched at the same time, over all requests."
    )
    image_cache_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=0,
        description="Decoded images kept for the next request that has them; 0 is off.",
    )
    image_domains: tuple[Domain, ...] = Field(
        default=(), description="Hosts that images may come from, *.example.com for its subdomains. With none, any."
    )
    allow_private_addresses: bool = Field(
        default=False, description="Fetch images from loopback, private and link-local addresses too."
    )
    apply_exif_orientation: bool = Field(
        default=True, description="Turn photos upright as their camera noted. The original did not."
    )

    # Files, batches and stored responses
    data_dir: Path | None = Field(
        default=None,
        description="Directory of files and batches, which survive restarts there. The default is qwenvl below "
        "$XDG_DATA_HOME or ~/.local/share.",
    )
    max_file_bytes: int = Field(default=100 * MEBIBYTE, ge=1024, description="Largest file for a batch.")
    max_files: int = Field(default=1000, ge=1, description="Most files of one key.")
    batch_concurrency: int = Field(
        default=8, ge=1, le=1024, description="Requests of batches in work at a time, over all batches."
    )
    max_stored_responses: int = Field(
        default=1000,
        ge=0,
        description="Responses kept for previous_response_id; the longest unused go first. 0 keeps none.",
    )

    # Operations
    log_format: Literal["text", "json"] = Field(default="text", description="Form of the log's lines: text or json.")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Least level that is logged: debug, info, warning or error."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OTLP collector for traces, as http://localhost:4317. With none, no traces.",
    )

    @field_validator("admin_keys")
    @classmethod
    def _is_no_other_key(cls, admins: tuple[HashedKey, ...], others: ValidationInfo) -> tuple[HashedKey, ...]:
        if set(admins) & set(others.data.get("api_keys", ())):
            raise ValueError("a key is both --admin-key and --api-key: an admin key opens every route anyway")
        return admins

    @property
    def key_limits(self) -> KeyLimits:
        """Limits of keys that have none of their own."""
        return KeyLimits(self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests)
