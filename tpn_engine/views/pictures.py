"""What a view shows, as picture files have it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from tpn_engine.errors import OptionError
from tpn_engine.views.render import View

DEPTH_STEPS = 10000  # of a depth picture, in each EG3D unit


def eight_bits(rgb: np.ndarray) -> np.ndarray:
    """Values in [0, 1] of any shape to uint8, rounded."""
    return (rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def rgb_picture(rgb: np.ndarray) -> Image.Image:
    """[H, W, 3] sRGB in [0, 1], 8 bits a channel."""
    return Image.fromarray(eight_bits(rgb), "RGB")


def depth_picture(view: View) -> Image.Image:
    """16 bits grey: the distance along the camera's axis in steps of 1 / DEPTH_STEPS EG3D units, 0 for nothing.

    Raises OptionError where the head is farther away than 6.5 units.
    """
    steps = view.depth * DEPTH_STEPS + 0.5
    if steps.max() >= 2**16:
        raise OptionError("A depth picture reaches 6.5 units: bring the camera nearer.")
    return Image.fromarray(steps.astype(np.uint16))


def normals_picture(view: View) -> Image.Image:
    """(n + 1) / 2 as RGB: red to the right, green up, blue toward the viewer; black where nothing is."""
    return rgb_picture((view.normals + 1) / 2 * view.mask[..., None])


def mask_picture(view: View) -> Image.Image:
    """How far the head covers each pixel, black to white, 8 bits grey: what `rgb` is multiplied with, to compose it."""
    return Image.fromarray(eight_bits(view.alpha))


SHOWN: dict[str, Callable[[View], Image.Image]] = {
    "rgb": lambda view: rgb_picture(view.rgb),
    "depth": depth_picture,
    "normals": normals_picture,
    "mask": mask_picture,
}


def checked_show(show: str) -> str:
    """`show` if it is in SHOWN; raises OptionError."""
    if show not in SHOWN:
        raise OptionError(f"What to show must be one of {', '.join(SHOWN)}.")
    return show
