"""Heads whose every point is known: a ball, red on the subject's left and blue on the right, seen by six cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tpn_engine.camera import Camera

SIZE, RADIUS, CENTRE = 64, 0.25, np.array([0.05, 0.02, 0.0])
YAWS = (0.0, 40.0, -35.0, 95.0, -100.0, 180.0)
LEFT, RIGHT = np.array([200, 30, 30], np.uint8), np.array([30, 30, 200], np.uint8)


def ball_view(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, coverage and depth of the ball, by intersecting each pixel's ray with it."""
    rows, columns = np.divmod(np.arange(SIZE * SIZE), SIZE)
    image = np.stack([(columns + 0.5) / SIZE, (rows + 0.5) / SIZE, np.ones(SIZE * SIZE)], axis=1)
    direction = image @ np.linalg.inv(camera.intrinsics.astype(np.float64)).T @ camera.pose[:3, :3].T
    offset = camera.position - CENTRE
    a = (direction**2).sum(1)
    b = direction @ offset
    root = b**2 - a * (offset @ offset - RADIUS**2)
    hit = root > 0
    depth = np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    point = camera.position + direction * depth[:, None]
    rgb = np.where((point[:, :1] > CENTRE[0]), LEFT, RIGHT) * hit[:, None]
    alpha = np.where(hit, 255, 0).reshape(SIZE, SIZE).astype(np.uint8)
    return rgb.reshape(SIZE, SIZE, 3).astype(np.uint8), alpha, depth.reshape(SIZE, SIZE)


def write_heads(folder: Path, count: int) -> Path:
    """Files as the head sampler writes them, all of the same ball."""
    cameras = [Camera.orbit(yaw, 5.0, look_at=(0.0, 0.0, 0.0)) for yaw in YAWS]
    rgb, alpha, depth = (np.stack(part) for part in zip(*map(ball_view, cameras), strict=True))
    labels = np.stack([camera.label for camera in cameras])
    for seed in range(count):
        path = folder / f"head_{seed:06d}.npz"
        np.savez(path, rgb=rgb, alpha=alpha, depth=depth.astype(np.float16), label=labels)
    return folder
