"""The aligned crop of EG3D: scale and shift from five points, so that roll stays in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

CROP_SIZE = 512
WINDOW = 700  # side of the part that is kept of the official 1024 px intermediate picture
INTERMEDIATE = 1024

# A standard face (x right, y up, z toward the viewer): image-left eye, image-right eye, nose,
# image-left and image-right mouth corner. Symmetric; within 1 px of the official alignment.
STANDARD_POINTS = np.array(
    [
        [-0.3094, 0.3142, 0.1375],
        [0.3094, 0.3142, 0.1375],
        [0.0, 0.0111, 0.5474],
        [-0.2412, -0.3698, 0.2189],
        [0.2412, -0.3698, 0.2189],
    ]
)
STANDARD_SCALE = 300.0  # pixels of the intermediate picture for one unit of the standard face


@dataclass(frozen=True)
class CropWindow:
    """The square of the photo that the crop shows.

    `left`, `top`, `width`, `height` in continuous photo pixels (left edge 0); may reach outside the
    photo; the sides are equal up to rounding. The photo is first turned counter-clockwise by
    `angle` degrees around `center`.
    """

    left: float
    top: float
    width: float
    height: float
    angle: float = 0.0
    center: tuple[float, float] = (0.0, 0.0)

    @property
    def upscale(self) -> float:
        """Crop pixels for one pixel of the photo."""
        return CROP_SIZE / min(self.width, self.height)

    @property
    def middle(self) -> np.ndarray:
        """The window's middle in the photo before turning, [2]."""
        middle = np.array([self.left + self.width / 2, self.top + self.height / 2])
        return turned(middle[None], -self.angle, self.center)[0]

    def widened(self, factor: float) -> CropWindow:
        """The window with sides `factor` times as long around the same middle."""
        grow_x, grow_y = self.width * (factor - 1) / 2, self.height * (factor - 1) / 2
        return replace(
            self,
            left=self.left - grow_x,
            top=self.top - grow_y,
            width=self.width * factor,
            height=self.height * factor,
        )

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] in the turned photo (pixel centres whole) to continuous crop pixels."""
        return (points + 0.5 - [self.left, self.top]) / [self.width, self.height] * CROP_SIZE

    def from_crop(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_crop`."""
        return points * [self.width, self.height] / CROP_SIZE + [self.left, self.top] - 0.5


def turned(points: np.ndarray, angle: float, center: tuple[float, float]) -> np.ndarray:
    """Points [N, 2] of a picture that is turned counter-clockwise by `angle` degrees around `center`."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (points - center) @ np.array([[cos, -sin], [sin, cos]]) + center


def crop_window(
    points: np.ndarray, size: tuple[int, int], angle: float = 0.0, center: tuple[float, float] = (0.0, 0.0)
) -> CropWindow:
    """Where EG3D's alignment puts the crop for five points [5, 2] in a (turned) photo of `size` (w, h).

    Scale and shift only. The integer roundings are those of the official preprocessing, which
    resizes the whole photo and cuts from that.
    """
    photo_width, photo_height = size
    upward = np.stack([points[:, 0], photo_height - 1 - points[:, 1]], axis=1)
    homogeneous = np.concatenate([STANDARD_POINTS, np.ones((5, 1))], axis=1)
    fit = np.linalg.pinv(homogeneous) @ upward
    scale = STANDARD_SCALE / np.linalg.norm(fit[:3], axis=0).mean()
    face_x, face_y = fit[3]

    width, height = int(photo_width * scale), int(photo_height * scale)
    left = int(width / 2 - INTERMEDIATE / 2 + (face_x - photo_width / 2) * scale)
    top = int(height / 2 - INTERMEDIATE / 2 + (photo_height / 2 - face_y) * scale)
    margin = (INTERMEDIATE - WINDOW) // 2
    x, y = photo_width / width, photo_height / height
    return CropWindow((left + margin) * x, (top + margin) * y, WINDOW * x, WINDOW * y, angle, center)


def cut_crop(photo: Image.Image, window: CropWindow, size: int = CROP_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The aligned crop [size, size, 3] float32 in [0, 1], and which part of it the photo shows.

    The second is [size, size] float32: 1 inside the photo, 0 outside. What lies outside is filled by
    reflection, the more blurred the further out.
    """
    middle = window.middle
    reach = math.ceil(max(window.width, window.height) / 2 * (math.sqrt(2) if window.angle else 1)) + 8
    left, top = (int(value) for value in np.floor(middle) - reach)
    patch, inside = _reflected_patch(photo, left, top, 2 * reach + 1)
    center = (middle[0] - left, middle[1] - top)
    if window.angle:
        patch = patch.rotate(window.angle, Image.Resampling.BICUBIC, center=center)
        inside = inside.rotate(window.angle, Image.Resampling.BICUBIC, center=center)
    half = (window.width / 2, window.height / 2)
    box = (center[0] - half[0], center[1] - half[1], center[0] + half[0], center[1] + half[1])
    shown = np.asarray(_resized(inside, box, size), np.float32) / 255
    return _blur_outside(_resized(patch, box, size), shown), shown


def _reflected_patch(photo: Image.Image, left: int, top: int, side: int) -> tuple[Image.Image, Image.Image]:
    """A square of the photo, reflected where it reaches outside, and 255 where it does not."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, photo.width), min(top + side, photo.height)
    margins = ((y0 - top, top + side - y1), (x0 - left, left + side - x1))
    pixels = np.asarray(photo.crop((x0, y0, x1, y1)))
    patch = np.pad(pixels, (*margins, (0, 0)), mode="reflect")
    inside = np.pad(np.full(pixels.shape[:2], 255, np.uint8), margins)
    return Image.fromarray(patch), Image.fromarray(inside)


def _resized(picture: Image.Image, box: tuple[float, float, float, float], size: int) -> Image.Image:
    """The part inside `box`, size x size, resampled in the two steps of EG3D."""
    between = round(size * WINDOW / CROP_SIZE)
    window = picture.resize((between, between), Image.Resampling.BICUBIC, box=box)
    return window.resize((size, size), Image.Resampling.LANCZOS)


def _blur_outside(crop: Image.Image, shown: np.ndarray) -> np.ndarray:
    """Blur what the photo does not show, so that a reflection is not taken for content."""
    filled = np.asarray(crop, np.float32) / 255
    if shown.min() > 0.5:
        return filled
    distance = np.asarray(ndimage.distance_transform_edt(shown < 0.5), np.float32)
    for radius, reach in ((6, 12), (24, 64)):
        blurred = np.asarray(crop.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255
        filled = filled + (blurred - filled) * (distance / reach).clip(0, 1)[..., None]
    return filled
