"""Opening photos: every format, mode and orientation; nothing that is not one."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
import portrait_photos as photos
import pytest
from PIL import Image
from skimage import data

from tpn_engine.errors import FaceTooSmallError, FileError, HeadCaptureError, ImageTooLargeError, NotAnImageError
from tpn_engine.portrait.photo import open_photo

ASTRONAUT = photos.astronaut()
PIXELS = np.asarray(ASTRONAUT, np.float32)
GREY = np.asarray(ASTRONAUT.convert("L").convert("RGB"), np.float32)


def heic(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


def difference(photo: bytes | Image.Image, expected: np.ndarray = PIXELS) -> float:
    """Mean absolute difference in 8-bit steps."""
    image = open_photo(photo).image
    assert image.mode == "RGB"
    assert image.size == (expected.shape[1], expected.shape[0])
    return float(np.abs(np.asarray(image, np.float32) - expected).mean())


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats(file_format: str):
    options = {"lossless": True} if file_format == "WEBP" else {}
    assert difference(photos.encoded(ASTRONAUT, file_format, **options)) == 0


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("WEBP", {"quality": 95}),
        ("TIFF", {"compression": "jpeg"}),
        ("GIF", {}),
        ("MPO", {"quality": 95}),
    ],
)
def test_lossy_formats(file_format: str, options: dict):
    assert difference(photos.encoded(ASTRONAUT, file_format, **options)) < 5


def test_heic():
    assert difference(heic(ASTRONAUT.crop((128, 0, 328, 180)), quality=90), PIXELS[:180, 128:328]) < 3


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
def test_tiff_compressions(compression: str):
    assert difference(photos.encoded(ASTRONAUT, "TIFF", compression=compression)) == 0


def test_grey():
    assert difference(photos.encoded(ASTRONAUT.convert("L"), "PNG"), GREY) == 0
    assert difference(photos.encoded(ASTRONAUT.convert("L"), "JPEG", quality=95), GREY) < 2
    assert difference(ASTRONAUT.convert("1"), np.asarray(ASTRONAUT.convert("1").convert("RGB"), np.float32)) == 0


def test_16_bit():
    grey = np.asarray(ASTRONAUT.convert("L"))
    assert difference(photos.deep_png(np.asarray(ASTRONAUT))) <= 1
    assert difference(photos.deep_png(grey), GREY) <= 1
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert difference(photos.encoded(deep, "TIFF"), GREY) <= 1
    assert difference(deep, GREY) <= 1


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_float_and_long_integers(white: float):
    values = np.asarray(ASTRONAUT.convert("L"), np.float32) / 255 * white
    assert difference(photos.encoded(Image.fromarray(values), "TIFF"), GREY) <= 1
    if white > 1:
        assert difference(photos.encoded(Image.fromarray(values.astype(np.int32)), "TIFF"), GREY) <= 1


def test_cmyk():
    cmyk = ASTRONAUT.convert("CMYK")
    assert difference(photos.encoded(cmyk, "TIFF")) < 1
    assert difference(photos.encoded(cmyk, "JPEG", quality=95)) < 5


def test_palette():
    palette = ASTRONAUT.quantize(256)
    assert difference(photos.encoded(palette, "PNG")) < 8
    assert difference(photos.encoded(palette, "GIF")) < 8


def test_transparency_shows_neutral_grey():
    alpha = np.zeros((512, 512), np.uint8)
    alpha[:, 256:] = 255
    expected = PIXELS.copy()
    expected[:, :256] = 128
    rgba = ASTRONAUT.copy()
    rgba.putalpha(Image.fromarray(alpha))
    assert difference(photos.encoded(rgba, "PNG"), expected) == 0
    assert difference(photos.encoded(rgba, "TIFF"), expected) == 0
    assert difference(photos.encoded(rgba, "WEBP", lossless=True), expected) < 1
    expected_grey = GREY.copy()
    expected_grey[:, :256] = 128
    assert difference(photos.encoded(rgba.convert("LA"), "PNG"), expected_grey) == 0


def test_palette_with_a_transparent_color():
    palette = Image.new("P", (100, 80), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.paste(1, (50, 0, 100, 80))
    pixels = np.asarray(open_photo(photos.encoded(palette, "PNG", transparency=0)).image)
    assert (pixels[:, :50] == 128).all()
    assert (pixels[:, 50:] == [0, 255, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(file_format: str, orientation: int):
    image = Image.fromarray(np.asarray(ASTRONAUT)[:400])
    operation = photos.ORIENTATIONS.get(orientation)
    stored = image if operation is None else image.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = photos.encoded(stored, file_format, exif=exif)
    assert difference(photo, PIXELS[:400]) < 5


def test_damaged_exif_and_profile_are_ignored():
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff garbage"
    assert difference(photos.encoded(ASTRONAUT, "JPEG", quality=95, exif=exif)) < 5
    assert difference(photos.encoded(ASTRONAUT, "PNG", icc_profile=b"not a profile")) == 0


def test_color_profile_is_applied():
    photo = photos.encoded(ASTRONAUT, "PNG", icc_profile=photos.swapped_profile())
    assert difference(photo, PIXELS[..., ::-1]) < 4


def test_first_frame_of_several():
    other = Image.new("RGB", (512, 512), (0, 255, 0))
    for file_format in ("TIFF", "GIF"):
        photo = photos.encoded(ASTRONAUT, file_format, save_all=True, append_images=[other])
        assert difference(photo) < 8


def test_very_large_photos_are_halved():
    photo = photos.encoded(ASTRONAUT.convert("L").resize((9000, 6000)), "JPEG", quality=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_photo(photo).image.size == (4500, 3000)


def test_name_and_hash(tmp_path: Path):
    photo = photos.encoded(ASTRONAUT, "PNG")
    path = tmp_path / "Aña 1.png"
    path.write_bytes(photo)
    digest = hashlib.sha256(photo).hexdigest()
    for source in (path, str(path)):
        opened = open_photo(source)
        assert (opened.name, opened.sha256) == ("Aña 1.png", digest)
    assert open_photo(photo).sha256 == digest
    assert open_photo(photo).name == "portrait"
    assert open_photo(ASTRONAUT).sha256 == hashlib.sha256(data.astronaut().tobytes()).hexdigest()


def test_pictures_of_the_caller_stay_as_they_are():
    image = Image.open(io.BytesIO(photos.encoded(ASTRONAUT.convert("P"), "PNG")))
    open_photo(image)
    assert (image.mode, image.size) == ("P", (512, 512))


def cut_off(photo: bytes, part: float) -> bytes:
    return photo[: int(len(photo) * part)]


JPEG = photos.encoded(ASTRONAUT, "JPEG")
PNG = photos.encoded(ASTRONAUT, "PNG")

BAD_BYTES = {
    "0 bytes": (b"", NotAnImageError),
    "1 byte": (b"\xff", NotAnImageError),
    "text": ("Grüße".encode() * 100, NotAnImageError),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", NotAnImageError),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(200), NotAnImageError),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", NotAnImageError),
    "program": (b"\x7fELF\x02\x01\x01" + bytes(500), NotAnImageError),
    "zip": (b"PK\x03\x04" + bytes(100), NotAnImageError),
    "noise": (np.random.default_rng(0).bytes(5000), NotAnImageError),
    "zeros": (bytes(5000), NotAnImageError),
    "jpeg, only the start": (JPEG[:4], NotAnImageError),
    "jpeg, header only": (JPEG[:200], NotAnImageError),
    "jpeg, half": (cut_off(JPEG, 0.5), NotAnImageError),
    "jpeg, most": (cut_off(JPEG, 0.95), NotAnImageError),
    "png, signature": (PNG[:8], NotAnImageError),
    "png, a third": (cut_off(PNG, 0.3), NotAnImageError),
    "png, most": (cut_off(PNG, 0.95), NotAnImageError),
    "png, wrong checksum": (PNG[:40] + bytes(8) + PNG[48:], NotAnImageError),
    "webp, half": (cut_off(photos.encoded(ASTRONAUT, "WEBP"), 0.5), NotAnImageError),
    "tiff, half": (cut_off(photos.encoded(ASTRONAUT, "TIFF"), 0.5), NotAnImageError),
    "bmp, half": (cut_off(photos.encoded(ASTRONAUT, "BMP"), 0.5), NotAnImageError),
    "gif, half": (cut_off(photos.encoded(ASTRONAUT, "GIF"), 0.5), NotAnImageError),
    "heic, half": (cut_off(heic(ASTRONAUT.crop((128, 0, 328, 180))), 0.5), NotAnImageError),
    "text bomb": (photos.text_bomb(), NotAnImageError),
    "png bomb": (photos.png(60000, 60000, 2, 8), ImageTooLargeError),
    "png bomb, below Pillow's own limit": (photos.png(11000, 11000, 2, 8), ImageTooLargeError),
    "gif bomb": (photos.gif_bomb(), ImageTooLargeError),
    "jpeg bomb": (photos.jpeg_bomb(), ImageTooLargeError),
    "bmp bomb": (photos.bmp_bomb(), ImageTooLargeError),
    "tiff bomb": (photos.tiff_bomb(), ImageTooLargeError),
    "long strip": (photos.png(2_000_000, 100, 0, 8), ImageTooLargeError),
    "1x1": (photos.encoded(Image.new("RGB", (1, 1)), "PNG"), FaceTooSmallError),
    "59 pixels wide": (photos.encoded(Image.new("RGB", (59, 500)), "JPEG"), FaceTooSmallError),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes(name: str):
    photo, error = BAD_BYTES[name]
    with pytest.raises(HeadCaptureError) as caught:
        open_photo(photo)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_bad_paths(tmp_path: Path):
    paths = [tmp_path, tmp_path / "missing.jpg", "nul\0byte.jpg", "x" * 5000, ""]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        paths += [tmp_path / "pipe.jpg", "/dev/zero"]
    for path in paths:
        with pytest.raises(FileError):
            open_photo(path)
