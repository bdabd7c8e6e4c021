"""What a photo doesn't show of a mesh is calm; what it shows is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from tpn_engine.camera import Camera
from tpn_engine.surface import guessed

RADIUS = 0.25
CAMERA = Camera.orbit(0, 0)


def bumpy(height: float) -> tuple[np.ndarray, np.ndarray]:
    """A ball with waves of 0.06 units all over."""
    sphere = trimesh.creation.icosphere(5, RADIUS)
    outward = sphere.vertices / RADIUS
    waves = np.cos(sphere.vertices @ [[2 * np.pi / 0.06], [0.0], [0.0]])[:, 0] * np.cos(100 * sphere.vertices[:, 1])
    return (sphere.vertices + height * waves[:, None] * outward).astype(np.float32), sphere.faces.astype(np.int32)


def calmed(vertices: np.ndarray, triangles: np.ndarray, camera: Camera, floor: float | None = None) -> np.ndarray:
    return guessed.calmed(vertices, triangles, camera, floor, known=np.zeros(len(vertices)))


def relief(camera: Camera, chosen: np.ndarray) -> float:
    """What is left of the waves on some of the ball's vertices when it is calmed, against what there was."""
    waves = [calmed(*bumpy(height), camera)[chosen] for height in (0.003, 0.0)]
    there_were = [bumpy(height)[0][chosen] for height in (0.003, 0.0)]
    return float((waves[0] - waves[1]).std() / (there_were[0] - there_were[1]).std())


def test_the_back_loses_its_relief_and_the_front_keeps_it() -> None:
    vertices, triangles = bumpy(0.003)
    moved = calmed(vertices, triangles, CAMERA)
    back, front = vertices[:, 2] < -0.6 * RADIUS, vertices[:, 2] > 0.7 * RADIUS
    assert relief(CAMERA, back) < 0.2
    np.testing.assert_array_equal(moved[front], vertices[front])


def test_what_only_the_photo_shows_is_left_alone() -> None:
    vertices, triangles = bumpy(0.003)
    side = (vertices[:, 0] > 0.9 * RADIUS) & (vertices[:, 2] < 0)
    assert relief(CAMERA, side) < 0.4
    aside = calmed(vertices, triangles, Camera.orbit(80, 0))
    np.testing.assert_allclose(aside[side], vertices[side], atol=1e-6)


def test_a_head_stays_as_round_and_as_large() -> None:
    vertices, triangles = bumpy(0.0)
    moved = calmed(vertices, triangles, CAMERA)
    assert np.linalg.norm(moved, axis=1).min() > 0.97 * RADIUS
    before, after = (trimesh.Trimesh(part, triangles, process=False).volume for part in (vertices, moved))
    assert after == pytest.approx(before, rel=0.02)


def test_a_cut_neck_stays_level() -> None:
    vertices, triangles = bumpy(0.003)
    floor = float(vertices[:, 1].min())
    low = vertices[:, 1] < floor + 0.004
    assert np.abs(calmed(vertices, triangles, CAMERA)[low] - vertices[low]).max() > 1e-3
    np.testing.assert_array_equal(calmed(vertices, triangles, CAMERA, floor)[low], vertices[low])


def test_what_is_known_beside_the_photo_is_left_alone() -> None:
    vertices, triangles = bumpy(0.003)
    known = (vertices[:, 1] > 0).astype(np.float64)
    moved = guessed.calmed(vertices, triangles, CAMERA, None, known)
    np.testing.assert_array_equal(moved[known > 0], vertices[known > 0])
    back = (vertices[:, 1] < -0.05) & (vertices[:, 2] < -0.6 * RADIUS)
    assert np.abs(moved[back] - vertices[back]).max() > 1e-3
