"""A real photo in every wrapping a camera, a phone or an attacker could give it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from skimage import data

# The EXIF orientation a file needs so that its stored pixels, made by the operation, show upright.
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def astronaut() -> Image.Image:
    """NASA's portrait of Eileen Collins, 512 x 512, public domain."""
    return Image.fromarray(data.astronaut())


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, color_type: int, depth: int, rows: bytes = b"") -> bytes:
    """A PNG by hand: claims any size, holds any depth."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    content = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content + chunk(b"IEND", b"")


def deep_png(pixels: np.ndarray) -> bytes:
    """16 bits for each channel of [H, W] or [H, W, 3] uint8."""
    deep = (pixels.astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    return png(pixels.shape[1], pixels.shape[0], 0 if pixels.ndim == 2 else 2, 16, rows)


def gif_bomb() -> bytes:
    """A GIF of 65535 x 65535 in 30 bytes."""
    size = struct.pack("<HH", 65535, 65535)
    return b"GIF89a" + size + b"\x00\x00\x00" + b"," + bytes(4) + size + b"\x00\x08\x02\x44\x01\x00;"


def jpeg_bomb() -> bytes:
    """A JPEG whose header claims 65500 x 65500."""
    picture = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG"))
    frame = picture.index(b"\xff\xc0")
    picture[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(picture)


def bmp_bomb() -> bytes:
    """A BMP whose header claims 60000 x 60000."""
    picture = bytearray(encoded(Image.new("RGB", (64, 64)), "BMP"))
    picture[18:26] = struct.pack("<ii", 60000, 60000)
    return bytes(picture)


def tiff_bomb() -> bytes:
    """A TIFF whose directory claims 60000 x 60000."""
    picture = bytearray(encoded(Image.new("RGB", (64, 64)), "TIFF"))
    for tag in (256, 257):
        entry = next(
            place
            for place in range(len(picture) - 12)
            if picture[place : place + 8] in (struct.pack("<HHI", tag, 4, 1), struct.pack("<HHI", tag, 3, 1))
        )
        picture[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, 60000)
    return bytes(picture)


def text_bomb() -> bytes:
    """A PNG with a compressed text that unpacks to 100 MB."""
    picture = encoded(astronaut(), "PNG")
    content = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 1)
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    return picture[:33] + chunk + picture[33:]


def swapped_profile() -> bytes:
    """An ICC profile in which the first channel is blue and the last red; gamma 2.2."""
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    white = (0.9642, 1.0, 0.8249)

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"swap\0" + bytes(78)
    text += bytes(-len(text) % 4)
    license_text = b"text\0\0\0\0none\0\0\0\0"
    tags = {b"desc": text, b"cprt": license_text, b"wtpt": xyz(white), b"rXYZ": xyz(blue), b"gXYZ": xyz(green)}
    tags |= {b"bXYZ": xyz(red), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    header = struct.pack(">I", size) + bytes(4) + struct.pack(">I", 0x02400000) + b"mntrRGB XYZ " + bytes(12)
    header += b"acsp" + bytes(28) + xyz(white)[8:] + bytes(48)
    return header + table + body
