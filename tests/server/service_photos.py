"""Photos for the service: one with a face, and many that are wrong in some way."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from skimage import data


def portrait() -> bytes:
    """NASA's photo of Eileen Collins, in the public domain."""
    return encoded(Image.fromarray(data.astronaut()[:360, 60:420]), "JPEG", quality=92)


def other_portrait() -> bytes:
    return encoded(Image.fromarray(data.astronaut()[:340, 70:410]), "JPEG", quality=92)


def without_a_face() -> bytes:
    return encoded(Image.fromarray(data.coffee()[100:300, 100:300]), "JPEG")


def slow() -> bytes:
    """No face either, but the search for one takes a while."""
    rng = np.random.default_rng(0)
    return encoded(Image.fromarray(rng.integers(0, 256, (900, 900, 3), np.uint8)), "PNG", compress_level=1)


def tiny() -> bytes:
    return encoded(Image.new("RGB", (20, 20)), "PNG")


def bomb() -> bytes:
    """A PNG of some hundred bytes that claims to unpack to 40,000 x 40,000 pixels."""
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
