"""The cameras that look at a head from around it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tpn_engine.camera import RADIUS, Camera, focal_length
from tpn_engine.errors import OptionError

HEAD_CENTER = (0.0, 0.03, -0.08)  # middle of an adult head with hair; the world's origin lies behind the nose
HEAD_FOCAL = 3.6  # a little wider than EG3D's crop, so that the whole head is in the picture


def around(yaw: float, pitch: float = 0.0, *, radius: float = RADIUS, field_of_view: float | None = None) -> Camera:
    """The camera that sees the whole head from `yaw` and `pitch`, in degrees.

    Positive yaw moves toward the subject's left, positive pitch up, as in `Camera.orbit`; the
    circle of `radius` EG3D units is centred on the head rather than on the face. `field_of_view` is in
    degrees along the picture's diagonal, by default such that the whole head fits. Raises OptionError
    unless |pitch| < 90, radius > 0.5 and 1 <= field_of_view <= 120.
    """
    if not (math.isfinite(yaw) and abs(pitch) < 90):
        raise OptionError("The yaw must be a number of degrees and the pitch between -90 and 90.")
    if not 0.5 < radius < 100:
        raise OptionError("The camera's distance must be between 0.5 and 100; 2.7 is usual.")
    if field_of_view is not None and not 1 <= field_of_view <= 120:
        raise OptionError("The field of view must be between 1 and 120 degrees.")
    focal = HEAD_FOCAL if field_of_view is None else focal_length(field_of_view)
    camera = Camera.orbit(yaw, pitch, radius=radius, look_at=(0.0, 0.0, 0.0), focal=focal)
    pose = camera.pose.copy()
    pose[:3, 3] += np.asarray(HEAD_CENTER, np.float32)
    return replace(camera, pose=pose)


def orbit(frame: int, frames: int, pitch: float = 0.0) -> Camera:
    """The camera of one frame of a turntable of `frames`, which starts in front of the face.

    The loop is exact: frame `frames` is frame 0, so a video of frames 0 to `frames` - 1 shows
    no view twice.
    """
    if frames < 1:
        raise OptionError("A turntable has at least one frame.")
    return around(360.0 * (frame % frames) / frames, pitch)


def ring(count: int, pitch: float = 0.0) -> list[Camera]:
    """`count` cameras at equal steps around the head, the first in front of the face."""
    return [orbit(index, count, pitch) for index in range(count)]
