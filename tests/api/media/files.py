"""Picture files of every kind: odd ones that are valid, and those that are not pictures or are bombs."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from qwenvl.model_executor.pictures import fit_image

SIZE = 448


def encoded(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colorful(width: int = 60, height: int = 40) -> PIL.Image.Image:
    """Different in every corner and row, so that no turn and no mode looks like another."""
    across = PIL.Image.linear_gradient("L").resize((width, height))
    down = PIL.Image.linear_gradient("L").rotate(90).resize((width, height))
    return PIL.Image.merge("RGB", (across, down, PIL.Image.radial_gradient("L").resize((width, height))))


def with_alpha() -> PIL.Image.Image:
    image = colorful().convert("RGBA")
    image.putalpha(PIL.Image.radial_gradient("L").resize(image.size))
    return image


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes, *more: bytes, depth: int = 8, color: int = 2) -> bytes:
    """A PNG of these rows; ``more`` are chunks before them."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", header, *more, png_chunk(b"IDAT", zlib.compress(data, 9)), png_chunk(b"IEND", b""))
    )


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing inside."""
    return png(width, height, b"\0")


def rgb48() -> bytes:
    rows = b"".join(
        b"\0" + b"".join(struct.pack(">HHH", x * 1000, y * 1500, (x + y) * 600) for x in range(60)) for y in range(40)
    )
    return png(60, 40, rows, depth=16)


def without_adobe_marker(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4]) :]


def oriented(kind: str, orientation: object) -> bytes:
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    return encoded(colorful(), kind, exif=exif)


def frames(kind: str, count: int, **options: object) -> bytes:
    """Many frames, all unlike the first."""
    others = [PIL.Image.new("RGB", (60, 40), (i % 256, 255 - i % 256, 7)) for i in range(count - 1)]
    return encoded(colorful(), kind, save_all=True, append_images=others, **options)


def wide_webp() -> bytes:
    """Small frames on a canvas as large as there is."""
    content = bytearray(frames("WEBP", 2))
    assert content[12:16] == b"VP8X"
    content[24:30] = (16_383).to_bytes(3, "little") * 2
    return bytes(content)


def tiff_of_tiles(side: int) -> bytes:
    """A picture of 64 x 64 in one tile that is far larger."""
    data = zlib.compress(b"\0" * 1000)
    tags = {
        256: 64,
        257: 64,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: side,
        323: side,
        324: 8 + 2 + 12 * 10 + 4,
        325: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + data


def jpeg_of_segments(count: int, segment: bytes) -> bytes:
    """Many small segments before the picture."""
    content = encoded(colorful(), "JPEG")
    return content[:2] + segment * count + content[2:]


def jpeg_of_scans(count: int) -> bytes:
    """The last scan of a progressive JPEG over and over."""
    content = encoded(colorful().convert("L"), "JPEG", progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * count + content[-2:]


def png_of_chunks(count: int) -> bytes:
    return png(1, 1, b"\0" * 4, *[png_chunk(b"abCd", b"")] * count)


def bmp_of_runs(width: int, height: int) -> bytes:
    """A BMP with run lengths, whose lines end after a pixel."""
    data, palette = b"\1\0\0\0" * height, b"\0\0\0\0" * 256
    start = 14 + 40 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


def odd_pictures() -> Iterator[tuple[str, bytes]]:
    image = colorful()
    palette = image.quantize(16)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        yield f"plain {kind}", encoded(image, kind)
    yield "CMYK JPEG, inverted as Adobe does", encoded(image.convert("CMYK"), "JPEG")
    yield "CMYK JPEG", without_adobe_marker(encoded(image.convert("CMYK"), "JPEG"))
    yield "CMYK TIFF", encoded(image.convert("CMYK"), "TIFF")
    yield "YCbCr TIFF", encoded(image.convert("YCbCr"), "TIFF")
    yield "LAB TIFF", encoded(image.convert("LAB"), "TIFF")
    yield "grey JPEG", encoded(image.convert("L"), "JPEG")
    yield "progressive JPEG", encoded(image, "JPEG", progressive=True)
    yield "16-bit grey PNG", encoded(image.convert("I").point(lambda x: x * 257).convert("I;16"), "PNG")
    yield "16-bit grey TIFF", encoded(image.convert("I").point(lambda x: x * 257).convert("I;16"), "TIFF")
    yield "48-bit PNG", rgb48()
    yield "32-bit TIFF", encoded(image.convert("I"), "TIFF")
    yield "float TIFF", encoded(image.convert("F"), "TIFF")
    yield "LA PNG", encoded(with_alpha().convert("LA"), "PNG")
    yield "RGBA PNG", encoded(with_alpha(), "PNG")
    yield "RGBA WEBP", encoded(with_alpha(), "WEBP", lossless=True)
    yield "palette PNG", encoded(palette, "PNG")
    yield "palette PNG, one colour transparent", encoded(palette, "PNG", transparency=3)
    yield "palette PNG, transparency for each colour", encoded(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    yield "RGB PNG, one colour transparent", encoded(image, "PNG", transparency=image.getpixel((0, 0)))
    yield "palette GIF, transparent", encoded(palette, "GIF", transparency=3)
    yield "1-bit PNG", encoded(image.convert("1"), "PNG")
    yield "1-bit TIFF, fax", encoded(image.convert("1"), "TIFF", compression="group4")
    yield "1-bit BMP", encoded(image.convert("1"), "BMP")
    yield "palette BMP", encoded(palette, "BMP")
    yield "LZW TIFF", encoded(image, "TIFF", compression="tiff_lzw")
    yield "JPEG TIFF", encoded(image, "TIFF", compression="jpeg")
    yield "1 x 1", encoded(image.resize((1, 1)), "PNG")
    yield "1 x 10000", encoded(image.resize((1, 10_000)), "PNG")
    yield "10000 x 1", encoded(image.resize((10_000, 1)), "JPEG")
    yield "many-frame GIF", frames("GIF", 1000)
    yield "many-frame WEBP", frames("WEBP", 300)
    yield "many-frame APNG", frames("PNG", 300)
    yield "many-page TIFF", frames("TIFF", 20)
    yield "two-picture JPEG", encoded(image, "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (60, 40))])
    for orientation in range(1, 9):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            yield f"{kind} with orientation {orientation}", oriented(kind, orientation)
    yield "orientation 9", oriented("JPEG", 9)
    yield "orientation 0", oriented("JPEG", 0)
    for name, exif in BROKEN_EXIF.items():
        yield f"JPEG with {name}", encoded(image, "JPEG", exif=exif)
        yield f"PNG with {name}", encoded(image, "PNG", exif=exif.removeprefix(b"Exif\0\0"))
    yield "broken APNG", png(1, 1, b"\0abc", png_chunk(b"acTL", struct.pack(">II", 0, 0)))


BROKEN_EXIF = {
    "EXIF of garbage": b"Exif\0\0garbage that is no TIFF",
    "EXIF cut off": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
    "EXIF that points outside": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "EXIF of a huge count": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\x7f\x08\0\0\0\0\0\0\0",
    "EXIF whose orientation is text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
    "EXIF that loops": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
}


ODD = dict(odd_pictures())

_BOMB = zlib.compress(b"\0" * 200_000_000, 9)

NOT_PICTURES = {
    "nothing": b"",
    "zeros": b"\0" * 100,
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "PDF": b"%PDF-1.7\n1 0 obj",
    "web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "GIF signature": b"GIF89a",
    "PNG signature": b"\x89PNG\r\n\x1a\n",
    "JPEG signature": b"\xff\xd8\xff",
    "BMP signature": b"BM",
    "WEBP signature": b"RIFF\0\0\0\0WEBP",
    "TIFF signature": b"II*\0\x08\0\0\0",
    "PPM": encoded(colorful(), "PPM"),
    "ICO": encoded(colorful(), "ICO"),
    "EPS": encoded(colorful(), "EPS"),
    "half a PNG": encoded(colorful(), "PNG")[:600],
    "half a JPEG": encoded(colorful(), "JPEG")[:-300],
    "half a WEBP": encoded(colorful(), "WEBP")[:-50],
    "half a GIF": encoded(colorful(), "GIF")[:-300],
    "half a BMP": encoded(colorful(), "BMP")[:-300],
    "half a TIFF": encoded(colorful(), "TIFF")[:-300],
    "half an LZW TIFF": encoded(colorful(), "TIFF", compression="tiff_lzw")[:-300],
    "50k x 50k": png_header(50_000, 50_000),
    "2^31 x 2^31": png_header(2**31 - 1, 2**31 - 1),
    "0 x 0": png_header(0, 0),
    "a GIF of 65535 x 65535": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0\0;",
    "a BMP of 50k x 50k": b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 50_000, 50_000, 1, 24, *[0] * 6),
    "a WEBP of 16384 x 16384": wide_webp(),
    "a TIFF of huge tiles": tiff_of_tiles(60_000),
    "a bomb in a colour profile": png(1, 1, b"\0abc", png_chunk(b"iCCP", b"x\0\0" + _BOMB)),
    "a bomb in PNG text": png(1, 1, b"\0abc", png_chunk(b"zTXt", b"x\0\0" + _BOMB)),
}

BOMBS = {
    "a PNG whose rows go on": png(1, 1, b"\0" * 200_000_000),
}
"""Files that unpack to more than they should, and whose first pixels are fine."""


def reference(content: bytes, *, upright: bool = True) -> bytes:
    """What Pillow itself makes of a file, as the original asks it to, fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = PIL.Image.open(io.BytesIO(content))
        if upright:
            try:
                image = PIL.ImageOps.exif_transpose(image)
            except Exception:
                image = PIL.Image.open(io.BytesIO(content))
        return fit_image(image.convert("RGB"), SIZE).tobytes()
