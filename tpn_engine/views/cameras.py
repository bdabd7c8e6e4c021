"""The cameras that look at a head from around it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError

HEAD_CENTER = (0.0, 0.03, -0.08)  # middle of an adult head with hair; the world's origin lies behind the nose
HEAD_FOCAL = 3.6  # a little wider than EG3D's crop, so that the whole head is in the picture


def around(yaw: float, pitch: float = 0.0) -> Camera:
    """The camera that sees the whole head from `yaw` and `pitch`, in degrees.

    Positive yaw moves toward the subject's left, positive pitch up, as in `Camera.orbit`; the
    circle is centred on the head rather than on the face. Raises OptionError unless |pitch| < 90.
    """
    if not (math.isfinite(yaw) and abs(pitch) < 90):
        raise OptionError("The yaw must be a number of degrees and the pitch between -90 and 90.")
    camera = Camera.orbit(yaw, pitch, look_at=(0.0, 0.0, 0.0), focal=HEAD_FOCAL)
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
