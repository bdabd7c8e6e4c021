"""The cameras that look at a head from around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tpn_engine.camera import RADIUS, Camera, focal_length
from tpn_engine.errors import OptionError
from tpn_engine.progress import Progress

HEAD_CENTER = (0.0, 0.03, -0.08)  # middle of an adult head with hair; the world's origin lies behind the nose
HEAD_FOCAL = 3.6  # a little wider than EG3D's crop, so that the whole head is in the picture
SWING = 20.0  # degrees that a spiral goes up and down


@dataclass(frozen=True)
class Framing:
    """What cameras look at, from how far, and how much of it they see.

    `radius` and `look_at`, by default the middle of the head, are in EG3D units; `field_of_view` is in
    degrees along the picture's diagonal, by default such that the whole head fits. Raises OptionError
    unless 0.5 < radius < 100, 1 <= field_of_view <= 120 and `look_at` lies within 10 units.
    """

    radius: float = RADIUS
    field_of_view: float | None = None
    look_at: tuple[float, float, float] = HEAD_CENTER

    def __post_init__(self) -> None:
        if not 0.5 < self.radius < 100:
            raise OptionError("The camera's distance must be between 0.5 and 100; 2.7 is usual.")
        if self.field_of_view is not None and not 1 <= self.field_of_view <= 120:
            raise OptionError("The field of view must be between 1 and 120 degrees.")
        if len(self.look_at) != 3 or not all(abs(number) <= 10 for number in self.look_at):
            raise OptionError("The point to look at must be three numbers between -10 and 10.")


WHOLE_HEAD = Framing()


def around(yaw: float, pitch: float = 0.0, framing: Framing = WHOLE_HEAD) -> Camera:
    """The camera on the sphere around `framing.look_at` at `yaw` and `pitch`, in degrees.

    Positive yaw moves toward the subject's left, positive pitch up, as in `Camera.orbit`. Raises
    OptionError unless |pitch| < 90.
    """
    if not (math.isfinite(yaw) and abs(pitch) < 90):
        raise OptionError("The yaw must be a number of degrees and the pitch between -90 and 90.")
    focal = HEAD_FOCAL if framing.field_of_view is None else focal_length(framing.field_of_view)
    camera = Camera.orbit(yaw, pitch, radius=framing.radius, look_at=(0.0, 0.0, 0.0), focal=focal)
    pose = camera.pose.copy()
    pose[:3, 3] += np.asarray(framing.look_at, np.float32)
    return replace(camera, pose=pose)


def ring(count: int, pitch: float = 0.0, framing: Framing = WHOLE_HEAD) -> list[Camera]:
    """`count` cameras at equal steps around the head, the first in front of the face.

    As after the last one the first comes again, a video of them loops and shows no view twice.
    """
    return [around(360.0 * index / count, pitch, framing) for index in range(count)]


def spiral(count: int, pitch: float = 0.0, framing: Framing = WHOLE_HEAD) -> list[Camera]:
    """As `ring`, but on the way round the cameras rise SWING degrees above `pitch` and sink as far below it."""
    turns = [index / count for index in range(count)]
    return [around(360.0 * turn, pitch + SWING * math.sin(2 * math.pi * turn), framing) for turn in turns]


PATHS: dict[str, Callable[[int, float, Framing], list[Camera]]] = {"ring": ring, "spiral": spiral}


def cameras_along(path: str, count: int, pitch: float = 0.0, framing: Framing = WHOLE_HEAD) -> list[Camera]:
    """The cameras of a turntable of `count` frames; raises OptionError for a `path` that is not in PATHS."""
    if path not in PATHS:
        raise OptionError(f"The path must be one of {', '.join(PATHS)}.")
    if count < 1:
        raise OptionError("A turntable has at least one frame.")
    return PATHS[path](count, pitch, framing)


def one_by_one(cameras: Sequence[Camera], stage: str, progress: Progress) -> Iterator[Camera]:
    """Yield each of `cameras`, reporting as `stage` how many were done with; raises CancelledError."""
    for index, camera in enumerate(cameras):
        progress(stage, index / len(cameras))
        yield camera
    progress(stage, 1.0)
