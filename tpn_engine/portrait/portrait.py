"""What is known about a photo once it has been read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpn_engine.camera import Camera
from tpn_engine.portrait.pose import fit_camera
from tpn_engine.standard_face import EG3D_FACE, StandardFace


@dataclass(frozen=True)
class PortraitWarning:
    """Something the user should know about the photo; `code` is stable, `message` is for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Surroundings:
    """What a photo shows around the aligned crop, `widths` crops wide and at the crop's scale, the crop in its middle.

    `picture` [S, S, 3] and `matte` [S, S] as those of the crop, float32 in [0, 1], in a capture uint8. `shown` [S, S]
    bool: where the photo itself lies; the rest is made up.
    """

    picture: np.ndarray
    matte: np.ndarray
    shown: np.ndarray
    widths: float

    def camera(self, source: Camera) -> Camera:
        """The camera that took it, where `source` took the crop."""
        intrinsics = source.intrinsics.copy()
        intrinsics[:2] /= self.widths
        intrinsics[:2, 2] += 0.5 - 0.5 / self.widths
        return Camera(source.pose, intrinsics)


@dataclass(frozen=True)
class Portrait:
    """A photo, aligned as EG3D's training pictures were.

    `crop` [512, 512, 3] float32 sRGB in [0, 1]: the aligned crop. `camera`: the source camera in
    the world of EG3D's labels, its `label` holds the 25 numbers. `matte` [512, 512] float32 in [0, 1]: 1 on the person.
    `landmarks` [468, 3] float32: MediaPipe's points in crop pixels, x and y continuous (the left
    edge of the first pixel is 0), z in the same unit, relative, smaller nearer to the camera.
    `score`: how sure the networks are that this is a face, [0, 1]. `faces`: how many there are.
    `box`: the face (x0, y0, x1, y1) in pixels of the photo turned upright. `name` and `sha256`:
    of the photo's file; for a photo that came without one, "portrait" and the hash of its bytes.
    `surroundings`: more of the photo, None where it shows little more than the crop.
    """

    crop: np.ndarray
    camera: Camera
    matte: np.ndarray
    landmarks: np.ndarray
    score: float
    faces: int
    box: tuple[float, float, float, float]
    name: str
    sha256: str
    warnings: tuple[PortraitWarning, ...] = ()
    surroundings: Surroundings | None = None

    def camera_in(self, face: StandardFace) -> Camera:
        """The source camera in the world of a model in which the standard face stands so."""
        return self.camera if face == EG3D_FACE else fit_camera(self.landmarks, face)
