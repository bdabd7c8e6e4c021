"""How far the face in a render is from the face in the photo, by their landmarks."""

from __future__ import annotations

import numpy as np

from tpn_engine.camera import Camera
from tpn_engine.portrait.landmarks import PRESENCE, FaceLandmarker, Region, eye_distance
from tpn_engine.standard_face import StandardFace


def landmark_error(
    landmarker: FaceLandmarker, seen: np.ndarray, photo: np.ndarray, camera: Camera, face: StandardFace
) -> float | None:
    """Median distance of the landmarks in per cent of the photo's distance between the eyes; None without a face.

    Both pictures are [S, S, 3] in [0, 1], as `camera` sees the head: of a capture its render, crop and camera. `face`
    is where the standard face stands in the model's world.
    """
    expected = Region.expected(camera, face, len(photo))
    (found, presence), (truth, true_presence) = (
        landmarker.landmarks(np.asarray(picture, np.float32), expected) for picture in (seen, photo)
    )
    if min(presence, true_presence) < PRESENCE:
        return None
    return float(np.median(np.linalg.norm(found[:, :2] - truth[:, :2], axis=1)) / eye_distance(truth) * 100)
