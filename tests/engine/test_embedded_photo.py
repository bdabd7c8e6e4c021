"""A real photo on the head of the model in the package: sharp where it is seen, and no seam around that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image
from scipy import ndimage

from tpn_engine import Capture, Engine, HeadMesh
from tpn_engine.surface import Photo
from tpn_engine.surface.colors import CERTAIN, photo_confidence
from tpn_engine.surface.membrane import mesh_edges
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.sight import sample

# Of MediaPipe's points, those around the lips and inside them.
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
LIPS += [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
INSIDE = 6  # edges from the border of what is seen to the borders that it is compared with


@pytest.fixture(scope="module")
def capture() -> Capture:
    return Engine.load(device="cpu").capture(Image.fromarray(skimage.data.astronaut()))


@pytest.fixture(scope="module")
def photo(capture: Capture) -> Photo:
    assert capture.around is not None
    return capture.around


@pytest.fixture(scope="module")
def plain(capture: Capture) -> HeadMesh:
    return capture.mesh(192, colors="model")


@pytest.fixture(scope="module")
def painted(capture: Capture) -> HeadMesh:
    return capture.mesh(192)


@pytest.fixture(scope="module")
def certain(plain: HeadMesh, photo: Photo) -> np.ndarray:
    return photo_confidence(plain, photo) >= CERTAIN


def drawn(mesh: HeadMesh, values: np.ndarray, photo: Photo) -> np.ndarray:
    size = len(photo.picture)
    return rasterize(mesh.vertices, mesh.triangles, photo.camera, size).interpolated(values, mesh.triangles)


def test_what_is_seen_is_the_photo(plain: HeadMesh, painted: HeadMesh, photo: Photo, certain: np.ndarray) -> None:
    seen = drawn(plain, certain[:, None].astype(np.float64), photo)[..., 0] > 0.99

    def psnr(mesh: HeadMesh) -> float:
        error = drawn(mesh, mesh.colors, photo)[seen] - photo.picture[seen]
        return float(-10 * np.log10((error**2).mean()))

    assert seen.mean() * photo.widths**2 > 0.25
    assert psnr(painted) >= 28
    assert psnr(painted) > psnr(plain) + 6


def test_hair_above_the_crop_is_the_photos(
    plain: HeadMesh, painted: HeadMesh, capture: Capture, photo: Photo, certain: np.ndarray
) -> None:
    above = certain & (capture.camera.project(plain.vertices)[:, 1] < -0.002)
    assert above.sum() > 50
    pixels = sample(photo.picture, photo.camera.project(plain.vertices[above])[:, :2])
    assert np.abs(painted.colors[: len(plain.vertices)][above] - pixels).max() < 1e-3
    # The same head without them has a cap.
    cut = replace(capture, surroundings=None).mesh(192).colors[: len(plain.vertices)][above]
    assert np.abs(cut - pixels).mean() > 0.03


def test_pictures_end_where_the_person_does_above_the_crop(capture: Capture, photo: Photo) -> None:
    assert photo.shown is not None
    beside = photo.shown & (ndimage.maximum_filter(photo.matte, 7) < 0.5)
    size = len(beside)

    def beyond(seen: Capture) -> float:
        """How much of what the photo shows beside the person a picture of the head covers."""
        (view,) = seen.views([photo.camera], size)
        return float(view.mask[beside].mean())

    assert beyond(capture) < 0.001
    assert beyond(replace(capture, surroundings=None)) > 0.01


def test_no_seam_where_the_photo_ends(plain: HeadMesh, painted: HeadMesh, certain: np.ndarray) -> None:
    colors = painted.colors[: len(plain.vertices)].astype(np.float64)  # split edges come after these
    edges = mesh_edges(plain.triangles)
    start, end = edges.T
    step = np.linalg.norm(colors[start] - colors[end], axis=1)

    def across(region: np.ndarray) -> float:
        return float(step[region[start] != region[end]].mean())

    inner = certain.copy()
    for _ in range(INSIDE):
        rim = inner[start] != inner[end]
        inner[start[rim]] = inner[end[rim]] = False
    assert 0.15 * certain.sum() < inner.sum() < certain.sum()
    assert across(certain) <= 1.5 * across(inner)


def test_the_surface_is_the_same_and_closed(plain: HeadMesh, painted: HeadMesh) -> None:
    before, after = (trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False) for mesh in (plain, painted))
    assert after.is_watertight
    assert after.is_winding_consistent
    assert len(painted.triangles) > len(plain.triangles)
    assert after.volume == pytest.approx(before.volume, rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(painted.normals, axis=1), 1, atol=1e-5)


def test_lips_are_as_deep_as_their_landmarks(capture: Capture) -> None:
    assert capture.landmarks is not None
    lips, size = capture.landmarks[LIPS], len(capture.crop)

    def relief(depth: np.ndarray) -> np.ndarray:
        """What is left of depths [L] without the plane through them."""
        plane = np.column_stack([lips[:, :2], np.ones(len(lips))])
        return depth - plane @ np.linalg.lstsq(plane, depth, rcond=None)[0]

    def off(seen: Capture) -> float:
        """Pixels between the relief of the mesh's lips and that of the landmarks."""
        mesh = seen.mesh(192, colors="model")
        depth = sample(rasterize(mesh.vertices, mesh.triangles, seen.camera, size).depth, lips[:, :2] / size)
        pixels = depth * seen.camera.intrinsics[0, 0] * size / np.median(depth)
        return float(np.abs(relief(pixels) - relief(lips[:, 2])).mean())

    assert off(capture) < 0.8 * off(replace(capture, landmarks=None))


def test_nothing_of_the_background_or_of_a_face_is_behind(painted: HeadMesh, photo: Photo) -> None:
    """The back of the head is nearly of one colour, which the person in the photo has."""
    back = painted.colors[(painted.normals[:, 2] < -0.6) & (painted.vertices[:, 1] > 0)]
    person = photo.picture[photo.matte > 0.95]
    assert back.std(0).max() < 0.08
    assert np.linalg.norm(person - back.mean(0), axis=1).min() < 0.06
    background = photo.picture[photo.matte < 0.05]
    if len(background) > 1000:
        assert np.linalg.norm(back.mean(0) - np.median(background, 0)) > 0.15


def test_a_limit_of_triangles_is_kept(capture: Capture) -> None:
    small = capture.mesh(128, triangles=5000)
    assert len(small.triangles) <= 5000
    assert not np.array_equal(small.colors, capture.mesh(128, triangles=5000, colors="model").colors)
