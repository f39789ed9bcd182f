"""``docs/images.md`` says what the code does."""

from pathlib import Path

from qwenvl.api import Settings
from qwenvl.api.media.connecting import HEAD_BYTES
from qwenvl.api.media.containers import MAX_PIECES, MAX_SCANS
from qwenvl.api.media.decoding import FORMATS, MAX_RUN_LENGTH_PIXELS, MAX_SIDE
from qwenvl.api.media.fetching import MAX_REDIRECTS
from qwenvl.api.media.loader import MAX_FETCHES
from qwenvl.api.media.urls import MAX_URL_LENGTH

PAGE = (Path(__file__).parents[3] / "docs" / "images.md").read_text(encoding="utf-8")


def test_settings() -> None:
    shown = {
        "max_images": "16",
        "max_image_bytes": "20 MiB",
        "max_image_pixels": "89,478,485",
        "image_timeout": "10",
        "image_fetches": "64",
        "image_threads": "4",
        "image_cache_bytes": "64 MiB",
    }
    defaults = Settings().model_dump()
    for name, value in shown.items():
        number, _, unit = value.replace(",", "").partition(" ")
        assert int(number) * (2**20 if unit else 1) == defaults[name]
        assert any(f"`{name}`" in line and f"| {value}" in line for line in PAGE.splitlines()), name
    for name in ("apply_exif_orientation", "allow_private_addresses", "image_domains"):
        assert f"`{name}`" in PAGE


def test_limits_that_no_setting_moves() -> None:
    assert f"at most {MAX_URL_LENGTH:,} characters" in PAGE
    assert HEAD_BYTES == 64 * 1024
    assert "64 KiB of headers" in " ".join(PAGE.split())
    assert (MAX_REDIRECTS, MAX_FETCHES) == (3, 4)
    for limit in (MAX_SIDE, MAX_RUN_LENGTH_PIXELS, MAX_PIECES, MAX_SCANS):
        assert f"| | {limit:,} |" in PAGE
    for limit in (MAX_SIDE, MAX_RUN_LENGTH_PIXELS, MAX_PIECES, MAX_SCANS):
        assert f"| | {limit:,} |" in PAGE
    assert all(name.lower() in PAGE.lower() for name in FORMATS)
