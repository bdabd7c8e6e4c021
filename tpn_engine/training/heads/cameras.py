"""The cameras that training heads are seen from."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tpn_engine.camera import Camera

ViewKind = Literal["front", "portrait", "side", "back", "left", "right"]
VIEW_KINDS: tuple[ViewKind, ...] = ("front", "portrait", "portrait", "portrait", "side", "back", "left", "right")
YAWS = {"side": (0.0, 1.8), "back": (np.pi, 1.5), "left": (1.35, 0.65), "right": (-1.35, 0.65)}  # radians, +-
# Where aligned photos are found to look, for any yaw, with the standard face as `figure.FIVE_POINTS` places it.
TARGET = (0.0, 0.005, 0.0)
PROFILE_TARGET = (0.0, 0.0, -0.06)  # from the side pictures would end before the back of the head
PITCH_LIMIT = 0.6  # radians


def training_cameras(seed: int, count: int) -> list[Camera]:
    """`count` cameras around the head that `seed` names, all with EG3D's intrinsics and radius.

    The first looks from the front; the next three as portraits do, a quarter of them from anywhere
    in +-1.6 radians; then one from anywhere in front and one from behind; then each profile, which photos
    rarely show and every head has; then again from the first. Each has a little roll and looks a little past its
    target, as aligned photos do.
    """
    rng = np.random.default_rng([seed, 99])
    return [sample_camera(VIEW_KINDS[view % len(VIEW_KINDS)], rng) for view in range(count)]


def sample_camera(kind: ViewKind, rng: np.random.Generator) -> Camera:
    """Draw one camera of a kind."""
    yaw, pitch = sample_angles(kind, rng)
    target = np.array(PROFILE_TARGET if kind in ("left", "right") else TARGET) + rng.normal(0, 0.015, 3)
    x, y, z = target.tolist()
    pitch = float(np.clip(pitch, -PITCH_LIMIT, PITCH_LIMIT))
    camera = Camera.orbit(float(np.degrees(yaw)), float(np.degrees(pitch)), look_at=(x, y, z))
    return rolled(camera, rng.normal(0, 0.06))


def sample_angles(kind: ViewKind, rng: np.random.Generator) -> tuple[float, float]:
    """Draw yaw and pitch in radians; yaw 0 is in front, positive toward the subject's left."""
    if kind == "front":
        return rng.normal(0, 0.15), rng.normal(0, 0.08)
    if kind == "portrait":
        yaw = rng.normal(0, 0.45) if rng.random() > 0.25 else rng.uniform(-1.6, 1.6)
        return yaw, rng.normal(0, 0.17)
    middle, reach = YAWS[kind]
    return middle + rng.uniform(-reach, reach), rng.normal(0, 0.2)


def rolled(camera: Camera, angle: float) -> Camera:
    """The camera turned about its own z axis by `angle` radians."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Camera((camera.pose @ turn).astype(np.float32), camera.intrinsics)
