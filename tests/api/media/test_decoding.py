import subprocess
import sys
from pathlib import Path

import PIL.Image
import PIL.ImageFile
import pytest

from qwenvl.api.media.decoding import (
    FORMATS,
    PictureError,
    count_pixels,
    decode_picture,
    fit_picture,
    fitted_image,
)
from tests.api.media.files import (
    BOMBS,
    NOT_PICTURES,
    ODD,
    SIZE,
    bmp_of_runs,
    colorful,
    encoded,
    frames,
    jpeg_of_scans,
    jpeg_of_segments,
    oriented,
    png_header,
    png_of_chunks,
    reference,
    tiff_of_tiles,
)

LIMIT = 10**8


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("upright", [True, False])
def test_pixels_are_pillows_own(name: str, upright: bool) -> None:
    assert fit_picture(ODD[name], LIMIT, SIZE, upright=upright).pixels == reference(ODD[name], upright=upright)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_turning_is_a_choice(kind: str) -> None:
    content = oriented(kind, 6)
    assert decode_picture(content, LIMIT, upright=True).size == (40, 60)
    assert decode_picture(content, LIMIT, upright=False).size == (60, 40)


@pytest.mark.filterwarnings("default")
def test_pillow_is_silent(recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]) -> None:
    for content in ODD.values():
        decode_picture(content, LIMIT, upright=True).convert("RGB")
    assert not recwarn.list
    assert not capfd.readouterr().err


def test_tiffs_are_always_upright() -> None:
    for upright in (True, False):
        assert decode_picture(oriented("TIFF", 6), LIMIT, upright=upright).size == (40, 60)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG"])
def test_first_frame(kind: str) -> None:
    first = decode_picture(frames(kind, 3), LIMIT, upright=True).convert("RGB")
    alone = decode_picture(encoded(colorful(), kind), LIMIT, upright=True).convert("RGB")
    assert first.tobytes() == alone.tobytes()


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_not_pictures(name: str) -> None:
    with pytest.raises(PictureError) as caught:
        fit_picture(NOT_PICTURES[name], LIMIT, SIZE, upright=True)
    message = str(caught.value)
    assert message.startswith("the image ")
    assert not any(word in message for word in ("0x", "BytesIO", "zlib", "struct", "Decompress"))


@pytest.mark.parametrize(("name", "hint"), [("SVG", "an SVG drawing"), ("PDF", "a PDF"), ("web page", "a web page")])
def test_hints(name: str, hint: str) -> None:
    with pytest.raises(PictureError, match=f"not in one of the formats JPEG, PNG.*looks like {hint}"):
        count_pixels(NOT_PICTURES[name], LIMIT)


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(name: str) -> None:
    assert decode_picture(BOMBS[name], LIMIT, upright=True).size == (1, 1)


BUSY = {
    "a JPEG of segments": jpeg_of_segments(30_000, b"\xff\xe5\0\2"),
    "a JPEG of restarts": jpeg_of_segments(30_000, b"\xff\xd0"),
    "a JPEG of padding": jpeg_of_segments(30_000, b"\xff"),
    "a JPEG of scans": jpeg_of_scans(200),
    "a PNG of chunks": png_of_chunks(30_000),
}


@pytest.mark.parametrize("name", BUSY)
def test_what_keeps_a_decoder_busy_is_refused(name: str) -> None:
    with pytest.raises(PictureError, match="in too many pieces or scans"):
        count_pixels(BUSY[name], LIMIT)


@pytest.mark.parametrize("content", [jpeg_of_segments(500, b"\xff\xe5\0\2"), jpeg_of_scans(50), png_of_chunks(1000)])
def test_many_pieces_are_fine(content: bytes) -> None:
    assert count_pixels(content, LIMIT)
    decode_picture(content, LIMIT, upright=True)


def test_restarts_in_a_scan_are_no_pieces() -> None:
    assert count_pixels(encoded(PIL.Image.effect_noise((2000, 1000), 50), "JPEG", restart_marker_blocks=1), LIMIT)


@pytest.mark.parametrize("width", [65_536, 10**7])
def test_sides_are_bounded(width: int) -> None:
    """Fitting takes 32 bytes for each pixel of the longer side."""
    for content in (png_header(width, 1), png_header(1, width)):
        with pytest.raises(PictureError, match="at most 65535 pixels on each side"):
            decode_picture(content, LIMIT, upright=True)


def test_tiles_count_as_pixels() -> None:
    assert count_pixels(tiff_of_tiles(128), LIMIT) == 128 * 128
    with pytest.raises(PictureError, match="tiles of at most 100000000 pixels"):
        decode_picture(tiff_of_tiles(16_384), LIMIT, upright=True)


def test_run_lengths_are_for_small_pictures() -> None:
    assert decode_picture(bmp_of_runs(60, 40), LIMIT, upright=True).size == (60, 40)
    with pytest.raises(PictureError, match="as a BMP with run lengths"):
        decode_picture(bmp_of_runs(5000, 5000), LIMIT, upright=True)


@pytest.mark.parametrize(("width", "height"), [(11, 10), (13_000, 13_000), (100_000, 100_000)])
def test_pixels_are_counted_before_decoding(width: int, height: int) -> None:
    with pytest.raises(PictureError, match="at most 100 pixels"):
        decode_picture(png_header(width, height), 100, upright=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_are_read_from_the_header(kind: str) -> None:
    assert count_pixels(encoded(PIL.Image.new("RGB", (5, 3), "red"), kind), 15) == 15
    with pytest.raises(PictureError, match="and has 5 x 3"):
        count_pixels(encoded(PIL.Image.new("RGB", (5, 3), "red"), kind), 14)


def test_pillows_global_limits_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(PictureError, match="at most 100 pixels"):
        decode_picture(png_header(50_000, 50_000), 100, upright=True)
    with pytest.raises(PictureError, match="damaged or truncated"):
        decode_picture(NOT_PICTURES["half a JPEG"], LIMIT, upright=True)


@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_truncated(images: Path, name: str) -> None:
    content = (images / name).read_bytes()
    for length in (len(content) // 2, len(content) - 100):
        with pytest.raises(PictureError, match="damaged or truncated"):
            decode_picture(content[:length], LIMIT, upright=True)


def test_a_picture_of_ones_own() -> None:
    fitted = fit_picture(encoded(colorful(), "PNG"), LIMIT, SIZE, upright=True)
    first = fitted_image(fitted, SIZE)
    first.paste("black", (0, 0, SIZE, SIZE))
    assert fitted_image(fitted, SIZE).tobytes() == fitted.pixels != first.tobytes()


MEMORY = """
import resource, sys
from pathlib import Path
from qwenvl.api.media.decoding import PictureError, fit_picture

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in Path(sys.argv[1]).iterdir():
    try:
        fit_picture(file.read_bytes(), 10**7, 448, upright=True)
    except PictureError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    """In a process of its own, since the most it ever held is what counts."""
    for i, content in enumerate([*BOMBS.values(), *NOT_PICTURES.values()]):
        (tmp_path / str(i)).write_bytes(content)
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50_000, "kilobytes"
    assert "PIL" not in done.stderr
