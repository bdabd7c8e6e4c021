"""The ears that ship can be made again: their shape, where heads have them, and whether hair hides them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from safetensors.numpy import load_file
from scipy.spatial.transform import Rotation

from tpn_engine.camera import Camera
from tpn_engine.surface.ear_places import DEPTHS, HEIGHTS
from tpn_engine.surface.ear_shape import FILE, MIDDLE, EarShape, within
from tpn_engine.surface.raster import rasterize
from tpn_engine.training import ears
from tpn_engine.training.data import HeadViews
from tpn_engine.training.ears import UNIT, MeanEar, fit_places, write_ears
from tpn_engine.training.mean_ear import FAR, mean_ear

HEAD, BACK, BUMP, DENT = np.array([0.17, 0.3, 0.28]), -0.1, 0.03, 0.025  # EG3D units


def bumped() -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid with a bump for an ear on each side, and a deep dent in the middle of each."""
    sphere = trimesh.creation.icosphere(5)
    skin = sphere.vertices * HEAD + [0, 0, BACK]
    form = within(skin[:, 1] - MIDDLE[0], skin[:, 2] - MIDDLE[1])
    out = BUMP * np.clip(2 * (0.7 - form), 0, 1) - DENT * np.clip(3 * (0.1 - form) / 0.1, 0, 1)
    skin[:, 0] += np.sign(skin[:, 0]) * np.where(np.abs(skin[:, 0]) > 0.08, out, 0)
    return np.asarray(skin), np.asarray(sphere.faces)


@pytest.fixture(scope="module", autouse=True)
def few_samples() -> Iterator[None]:
    """The toy's triangles are small enough for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpn_engine.training.mean_ear.SAMPLES", 3)
        yield


@pytest.fixture(scope="module")
def shape() -> EarShape:
    return mean_ear(*bumped())


def test_the_mean_ear_stands_out_as_far_as_the_skin_and_its_dents_are_dark(shape: EarShape) -> None:
    # On the bump's slope, beside the dent: where the form is between a tenth and a fifth.
    up, forward = np.array([0.03, -0.03, 0.0]), np.array([0.0, 0.0, 0.12])
    height = shape.height(up, forward)
    np.testing.assert_allclose(height[:2], BUMP, atol=0.006)
    assert height[2] == pytest.approx(0, abs=0.008)
    at_rim, in_dent = (
        shape.at(shape.light, np.array([[out], [up], [0.0]]))[0] for out, up in ((BUMP, 0.035), (BUMP - DENT, 0.0))
    )
    assert in_dent < 0.6 < at_rim
    assert np.abs(shape.distance).max() <= FAR + 1e-6


def test_a_place_is_found_again() -> None:
    skin, triangles = bumped()
    for side in (1, -1):
        ear = MeanEar.on(skin, triangles, side)
        assert ear.place(skin) == pytest.approx([0, 0, 0, 0], abs=1e-9)
        turn = Rotation.from_rotvec([0.1, 0, 0]).as_matrix()  # about x, from y toward z
        moved = (skin - [0, *MIDDLE]) @ turn.T * 1.2 + [0, *MIDDLE] + np.array([0, 0.02, -0.01])
        assert ear.place(moved) == pytest.approx([0.02, -0.01, np.log(1.2), 0.1], abs=1e-6)


def seen_from_aside(skin: np.ndarray, triangles: np.ndarray, nearer: float) -> HeadViews:
    """Both profiles, with something `nearer` than the skin all over."""
    cameras = tuple(Camera.orbit(yaw, 0.0, look_at=(0.0, 0.0, BACK)) for yaw in (90, -90))
    depth = np.stack([rasterize(skin, triangles, camera, 128).depth - nearer for camera in cameras])
    depth = np.where(np.isfinite(depth), depth, 0).astype(np.float16)
    alpha = np.where(depth > 0, 255, 0).astype(np.uint8)
    return HeadViews(np.repeat(alpha[..., None], 3, axis=3), alpha, depth, cameras)


def test_an_ear_under_hair_is_not_shown() -> None:
    skin, triangles = bumped()
    for side in (1, -1):
        ear = MeanEar.on(skin, triangles, side)
        assert ear.shown(skin, seen_from_aside(skin, triangles, 0.0))
        assert not ear.shown(skin, seen_from_aside(skin, triangles, 0.05))


def test_places_are_learned_from_ears_that_are_shown() -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(0, 1, (4000, 3))
    directions = np.linalg.qr(random.normal(0, 1, (40, 3)))[0].T
    reached = 0.2 + hidden @ directions + random.normal(0, 1e-3, (4000, 40))
    shown = hidden[:, 2] > 0
    places = hidden @ random.normal(0, 0.02, (3, 4))
    places[~shown] = 9  # what a hidden ear is like teaches nothing
    weight, bias = fit_places(reached, places, shown)
    answers = reached @ weight.T + bias
    assert np.abs(answers[shown, :4] - places[shown]).mean() < 0.1 * np.abs(places[shown]).mean()
    assert ((answers[:, 4] > 0) == shown).mean() > 0.95


def test_what_is_written_is_what_the_package_reads(shape: EarShape, tmp_path: Path) -> None:
    columns = len(HEIGHTS) * len(DEPTHS)
    write_ears(shape, np.ones((5, columns)), np.zeros(5), tmp_path / "ears.safetensors")
    made, shipped = load_file(tmp_path / "ears.safetensors"), load_file(FILE)
    assert {name: (value.shape, value.dtype) for name, value in made.items()} == {
        name: (value.shape, value.dtype) for name, value in shipped.items()
    }
    kept = made["shape.distance"] * made["shape.unit"]
    near = np.abs(shape.distance) < 100 * UNIT
    np.testing.assert_allclose(kept[near], shape.distance[near], atol=0.51 * UNIT)


def test_without_assets_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--assets", str(tmp_path), "--heads", str(tmp_path), "--out", str(tmp_path / "ears.safetensors")]
    monkeypatch.setattr("sys.argv", ["ears", *arguments])
    assert ears.main() == 1
    assert "does not hold the head assets" in capsys.readouterr().err
    assert not (tmp_path / "ears.safetensors").exists()
