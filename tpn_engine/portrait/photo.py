"""Opens any photo, safely: upright, RGB, and never larger in memory than allowed."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms

from tpn_engine.errors import FaceTooSmallError, FileError, HeadCaptureError, ImageTooLargeError, NotAnImageError

MAX_PIXELS = 120_000_000  # cameras that are sold as 100 MP make up to 108
WORKING_PIXELS = 50_000_000  # larger photos are halved: a face in them still has pixels to spare
MAX_FILE_BYTES = 1 << 30
MIN_SIDE = 60

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
NEUTRAL = (128, 128, 128)  # what shows through transparent parts

PhotoSource = str | os.PathLike | bytes | Image.Image


@dataclass(frozen=True)
class Photo:
    """A photo turned upright by its EXIF orientation: 8-bit sRGB, `name` and hash of its file."""

    image: Image.Image
    name: str
    sha256: str


def open_photo(source: PhotoSource) -> Photo:
    """Open a file, a file's bytes or a Pillow image.

    JPEG, PNG, WebP, TIFF, BMP, GIF (its first frame), AVIF, and HEIC where pillow-heif is
    installed; any colour mode and depth, transparency over grey, ICC profiles taken to sRGB.
    The claimed size is checked before anything is decoded.

    Raises FileError (can't be read), NotAnImageError (not a picture, damaged, cut off),
    ImageTooLargeError (over 120 megapixels), FaceTooSmallError (a side under 60 pixels).
    """
    name, data = "portrait", None
    if isinstance(source, bytes):
        data = source
    elif not isinstance(source, Image.Image):
        name, data = Path(source).name, _read_file(Path(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on large or odd files; the checks are ours
            image = source if isinstance(source, Image.Image) else _open_header(data or b"")
            _check_size(image, name)
            sha256 = hashlib.sha256(image.tobytes() if data is None else data).hexdigest()
            upright = _decode(image)
    except HeadCaptureError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except MemoryError as error:
        raise ImageTooLargeError(f"There is not enough memory to open {name}; use a smaller copy.") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise NotAnImageError(f"{name} is not a picture that can be read, or it is damaged; {_ADVICE}") from error
    return Photo(upright, name, sha256)


_ADVICE = "use a JPEG, PNG, WebP, TIFF, BMP or HEIC file."


def _read_file(path: Path) -> bytes:
    """The file's bytes; only regular files, so that nothing waits on a pipe or a device."""
    try:
        if path.is_dir():
            raise FileError(f"{path} is a folder; give the photo's file.")
        if not path.exists():
            raise FileError(f"There is no file {path}; check the name.")
        if not path.is_file():
            raise FileError(f"{path} is not a regular file; give the photo's file.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageTooLargeError(f"{path.name} is larger than 1 GiB; use a smaller copy.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise FileError(f"{path} can't be read ({error}); check the name and the permissions.") from error


def _open_header(data: bytes) -> Image.Image:
    """A picture not yet decoded. Formats that call other programs or never hold photos are left out."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(name)
    if min(width, height) < MIN_SIDE:
        raise FaceTooSmallError(
            f"{name} is only {width} x {height} pixels; use a photo of at least {MIN_SIDE} x {MIN_SIDE}."
        )


def _too_large(name: str) -> ImageTooLargeError:
    limit = MAX_PIXELS // 1_000_000
    return ImageTooLargeError(f"{name} has more than {limit} megapixels; use a smaller copy.")


def _decode(image: Image.Image) -> Image.Image:
    """Pixels at last: reduced if very large, upright, 8-bit sRGB."""
    if _is_large(image):
        image.draft(None, (image.width // 2, image.height // 2))  # JPEG decodes to half size by itself
    image.load()
    if _is_large(image) and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "I", "F"):
        image = image.reduce(2)  # before conversions: each holds a copy
    image = _to_srgb(_turn_upright(image))
    return image.reduce(2) if _is_large(image) else image


def _is_large(image: Image.Image) -> bool:
    return image.width * image.height > WORKING_PIXELS


def _turn_upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; unreadable EXIF counts as none."""
    orientation = 1
    with suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    operation = _ORIENTATIONS.get(orientation)
    return image if operation is None else image.transpose(operation)


_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _to_srgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _from_high_depth(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _compose(image.convert("RGBA"), profile)
    if image.mode in ("RGB", "CMYK", "L"):
        return _apply_profile(image, profile)
    return image.convert("RGB")


def _from_high_depth(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys: Pillow would cut off everything above 255.

    The file does not say what white is: 65535 for 16 bit, else the first of 1, 255, 65535 and the
    brightest value that holds all values.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    peak = float(np.nanmax(values))
    white = next((white for white in (1.0, 255.0, 65535.0) if peak <= white), peak)
    grey = np.nan_to_num(values.astype(np.float32) * np.float32(255.0 / white))
    return Image.fromarray(np.round(grey).clip(0, 255).astype(np.uint8)).convert("RGB")


def _compose(image: Image.Image, profile: bytes | None) -> Image.Image:
    background = Image.new("RGB", image.size, NEUTRAL)
    background.paste(_apply_profile(image.convert("RGB"), profile), mask=image.getchannel("A"))
    return background


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """To sRGB by the file's ICC profile; plain conversion where it has none or a broken one."""
    if profile:
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")
