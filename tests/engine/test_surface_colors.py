"""The photo on the mesh: its own pixels where it shows them, no seam and nothing strange elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from tpn_engine.camera import Camera
from tpn_engine.portrait.portrait import Surroundings
from tpn_engine.surface import HeadMesh, Photo
from tpn_engine.surface.cleanup import Surface
from tpn_engine.surface.colors import with_photo
from tpn_engine.surface.detail import split_edges
from tpn_engine.surface.grain import strands
from tpn_engine.surface.membrane import membrane, mesh_edges
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.scalp import like_scalp, on_scalp, tinted
from tpn_engine.surface.sight import Sight, facing, sample

FRONT = Camera.orbit(0, 0, look_at=(0, 0, 0))
RADII = np.array([0.2, 0.27, 0.24])
SKIN = np.array([0.7, 0.5, 0.4])
BACKGROUND = np.array([0.0, 0.0, 1.0])
SIZE = 512


def ellipsoid(centre: tuple[float, float, float] = (0, 0, 0), scale: float = 1.0, detail: int = 6) -> HeadMesh:
    sphere = trimesh.creation.icosphere(detail)
    normals = sphere.vertices / RADII
    return HeadMesh(
        vertices=(sphere.vertices * RADII * scale + centre).astype(np.float32),
        triangles=sphere.faces.astype(np.int32),
        normals=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        colors=np.broadcast_to(SKIN, sphere.vertices.shape).astype(np.float32),
    )


def checker(places: np.ndarray) -> np.ndarray:
    """Skin in two shades, squares of 1/16 of the picture."""
    dark = (np.floor(places * 16).sum(1) % 2)[:, None]
    return SKIN * (1 - 0.35 * dark)


def picture(mesh: HeadMesh, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The checker on the mesh as the camera sees it, the background beside it; and the mesh's coverage."""
    covered = rasterize(mesh.vertices, mesh.triangles, camera, SIZE).triangle >= 0
    places = (np.indices((SIZE, SIZE))[::-1].reshape(2, -1).T + 0.5) / SIZE
    crop = np.where(covered[..., None], checker(places).reshape(SIZE, SIZE, 3), BACKGROUND)
    return crop.astype(np.float32), covered.astype(np.float32)


def together(first: HeadMesh, second: HeadMesh) -> HeadMesh:
    return HeadMesh(
        np.concatenate([first.vertices, second.vertices]),
        np.concatenate([first.triangles, second.triangles + len(first.vertices)]).astype(np.int32),
        np.concatenate([first.normals, second.normals]),
        np.concatenate([first.colors, second.colors]),
    )


@pytest.fixture(scope="module")
def painted() -> HeadMesh:
    mesh = ellipsoid()
    crop, matte = picture(mesh, FRONT)
    return with_photo(mesh, Photo(crop, matte, FRONT))


def test_a_rasterized_mesh_is_where_rays_meet_it():
    mesh, camera, size = ellipsoid(detail=4), Camera.orbit(25, 10), 96
    raster = rasterize(mesh.vertices, mesh.triangles, camera, size)
    points = raster.interpolated(mesh.vertices.astype(np.float64), mesh.triangles)[raster.triangle >= 0]
    projected = camera.project(points)
    row, column = np.nonzero(raster.triangle >= 0)
    np.testing.assert_allclose(projected[:, :2] * size - 0.5, np.stack([column, row], 1), atol=1e-3)
    np.testing.assert_allclose(projected[:, 2], raster.depth[row, column], atol=1e-6)
    assert facing(points, points / RADII**2, camera).min() > -0.02  # the near side, not the far one
    area = np.pi * RADII[:2].prod() * (4.2647 * size / 2.7) ** 2
    assert len(points) == pytest.approx(area, rel=0.25)


def test_seen_vertices_have_the_photos_own_pixels(painted: HeadMesh):
    # nearer to the eye than the ellipsoid's edge and away from the edges of the squares
    projected = FRONT.project(painted.vertices)[:, :2]
    seen = facing(painted.vertices, painted.normals, FRONT) > 0.6
    within = np.abs((projected * 16) % 1 - 0.5).max(1) < 0.45
    assert seen.sum() > 5000
    np.testing.assert_allclose(painted.colors[seen & within], checker(projected[seen & within]), atol=1e-5)


def test_the_background_is_nowhere(painted: HeadMesh):
    assert painted.colors[:, 2].max() < SKIN[2] + 0.02


def test_the_back_goes_on_in_the_colours_of_the_front(painted: HeadMesh):
    back = painted.colors[painted.vertices[:, 2] < -0.1]
    assert back.mean(0) == pytest.approx(SKIN * 0.82, abs=0.06)
    assert back.min(0) == pytest.approx(SKIN * 0.82, abs=0.25)
    assert np.ptp(back, axis=0).max() < 0.3


def test_more_of_the_photo_reaches_farther_and_changes_nothing_else():
    mesh = ellipsoid(scale=1.6)  # leaves the crop above and below
    crop, matte = picture(mesh, FRONT)
    more = Surroundings(np.zeros(0), np.zeros(0), np.zeros(0), 1.5).camera(FRONT)
    # The checker of a picture half as wide again, moved and scaled so that the crop is in its middle.
    size = round(1.5 * SIZE)
    covered = rasterize(mesh.vertices, mesh.triangles, more, size).triangle >= 0
    places = ((np.indices((size, size))[::-1].reshape(2, -1).T + 0.5) / size - 0.5) * 1.5 + 0.5
    wide = np.where(covered[..., None], checker(places).reshape(size, size, 3), BACKGROUND).astype(np.float32)
    near, far = (
        with_photo(mesh, photo, finer=False).colors
        for photo in (Photo(crop, matte, FRONT), Photo(wide, covered.astype(np.float32), more, 1.5))
    )
    projected = FRONT.project(mesh.vertices)[:, :2]
    facing_us = facing(mesh.vertices, mesh.normals, FRONT) > 0.6
    inside = facing_us & ((projected > 0.06) & (projected < 0.94)).all(1)
    np.testing.assert_allclose(far[inside], near[inside], atol=0.02)
    outside = facing_us & (np.abs(projected[:, 1] - 0.5) > 0.52)
    assert outside.sum() > 100
    truth = sample(wide, (projected - 0.5) / 1.5 + 0.5)
    np.testing.assert_allclose(far[outside], truth[outside], atol=0.02)
    assert np.abs(near[outside] - truth[outside]).mean() > 0.03


def capped(color: np.ndarray) -> tuple[HeadMesh, Photo]:
    """A mesh of skin all over, and a photo with hair of this colour from the brows up."""
    mesh = ellipsoid()
    raster = rasterize(mesh.vertices, mesh.triangles, FRONT, SIZE)
    covered = raster.triangle >= 0
    brows = FRONT.project(np.array([[0.0, 0.08, 0.2]]))[0, 1] * SIZE
    hair = covered & (np.arange(SIZE)[:, None] < brows)
    crop = np.where(hair[..., None], color, np.where(covered[..., None], SKIN, BACKGROUND))
    return mesh, Photo(crop.astype(np.float32), covered.astype(np.float32), FRONT)


def test_hair_that_the_model_took_for_skin_is_as_grey_behind_as_before():
    mesh, photo = capped(np.array([0.75, 0.75, 0.78]))
    colors = tinted(mesh.colors, mesh.vertices, photo.picture, photo.matte, photo.camera, SIZE)
    behind = mesh.vertices[:, 2] < -0.1
    scalp = behind & (mesh.vertices[:, 1] > 0.05) & (np.abs(mesh.vertices[:, 0]) < 0.08)
    nape = behind & (mesh.vertices[:, 1] < -0.15)
    assert np.ptp(colors[scalp], axis=1).max() < 0.04
    np.testing.assert_allclose(colors.mean(1), mesh.colors.mean(1), atol=1e-3)  # light and shade are the model's
    np.testing.assert_allclose(colors[nape], mesh.colors[nape], atol=1e-6)
    painted = with_photo(mesh, photo, finer=False).colors
    assert np.median(np.ptp(painted[scalp], axis=1)) < 0.06


def test_a_bald_head_and_a_photo_without_outline_keep_the_models_tint():
    mesh, photo = capped(SKIN)
    colors = tinted(mesh.colors, mesh.vertices, photo.picture, photo.matte, photo.camera, SIZE)
    np.testing.assert_allclose(colors, mesh.colors, atol=0.03)
    everywhere = np.ones_like(photo.matte)
    assert tinted(mesh.colors, mesh.vertices, photo.picture, everywhere, photo.camera, SIZE) is mesh.colors


def haired(mesh: HeadMesh, contrast: float, *, everywhere: bool = False) -> tuple[HeadMesh, Photo]:
    """Hair above, skin below, in the mesh and in a photo whose hair is grained, pixels of this contrast.

    Or `everywhere`, as a beard and a collar are.
    """
    hair, grey = SKIN * 0.4, np.random.default_rng(3).normal(0, contrast, (SIZE // 4, SIZE // 4))
    colors = np.where(mesh.vertices[:, 1:2] > 0.05, hair, SKIN).astype(np.float32)
    plain = replace(mesh, colors=colors)
    raster = rasterize(mesh.vertices, mesh.triangles, FRONT, SIZE)
    crop = raster.interpolated(colors, mesh.triangles)
    of_hair = everywhere | (crop[..., 0] < SKIN[0] * 0.7)
    crop *= 1 + (grey.repeat(4, 0).repeat(4, 1) * of_hair)[..., None]
    return plain, Photo(crop.clip(0, 1).astype(np.float32), (raster.triangle >= 0).astype(np.float32), FRONT)


def roughness(mesh: HeadMesh, where: np.ndarray) -> float:
    """The deviation of brightness, relative to its mean."""
    brightness = mesh.colors[where].mean(1)
    return float(brightness.std() / brightness.mean())


@pytest.mark.parametrize("contrast", [0.0, 0.1, 0.3])
def test_hair_that_nobody_saw_is_as_rough_as_the_hair_that_is_seen_and_skin_is_not(contrast: float):
    mesh, photo = haired(ellipsoid(), contrast)
    painted = with_photo(mesh, photo, finer=False)
    behind = mesh.vertices[:, 2] < -0.1
    hair = roughness(painted, behind & (mesh.vertices[:, 1] > 0.09))
    skin = roughness(painted, behind & (mesh.vertices[:, 1] < -0.03))
    assert skin < 0.03
    if contrast:
        assert 0.2 * contrast < hair < 1.2 * contrast
    else:
        assert hair < 0.05


def test_the_sides_of_a_scalp_have_strands_and_cheeks_have_none():
    mesh, photo = haired(ellipsoid((0.0, 0.0, -0.1)), 0.15)
    painted = with_photo(mesh, photo, finer=False)
    turned = (mesh.normals[:, 2] > 0.15) & (mesh.normals[:, 2] < 0.3)  # so far that the photo doesn't tell
    scalp = on_scalp(mesh.vertices)
    assert roughness(painted, turned & (scalp > 0.3)) > 0.03
    assert roughness(painted, turned & (scalp < 0.01) & (mesh.vertices[:, 1] < 0)) < 0.005


def test_a_nape_has_no_strands_however_grained_the_skin_before_it_is():
    mesh, photo = haired(ellipsoid(), 0.15, everywhere=True)
    painted = with_photo(mesh, photo, finer=False)
    behind = mesh.vertices[:, 2] < -0.1
    assert roughness(painted, behind & (mesh.vertices[:, 1] > 0.09)) > 0.03
    assert roughness(painted, behind & (mesh.vertices[:, 1] < -0.03)) < 0.02


def test_what_is_like_the_scalp_is_told_from_skin():
    mesh, _ = haired(ellipsoid(), 0)
    like, hair = like_scalp(mesh.colors, mesh.vertices), mesh.colors[:, 0] < SKIN[0] * 0.7
    np.testing.assert_array_equal(like, hair.astype(np.float64))
    shaded = mesh.colors * 0.85  # as what faces away from the light
    np.testing.assert_array_equal(
        like_scalp(np.where(mesh.vertices[:, 2:] < 0, shaded, mesh.colors), mesh.vertices), like
    )
    upper = mesh.vertices[:, 1] > 0.1  # without a face nothing is known of its skin
    assert like_scalp(mesh.colors[upper], mesh.vertices[upper]).min() == 1


def test_the_models_hairline_is_on_the_back():
    mesh, photo = haired(ellipsoid(), 0)
    painted = with_photo(mesh, photo, finer=False)
    behind, height = mesh.vertices[:, 2] < -0.1, mesh.vertices[:, 1]
    above, below = painted.colors[behind & (height > 0.06)], painted.colors[behind & (height < 0.04)]
    np.testing.assert_allclose(above, np.broadcast_to(SKIN * 0.4, above.shape), atol=0.08)
    np.testing.assert_allclose(below, np.broadcast_to(SKIN, below.shape), atol=0.08)


def test_clothes_go_on_below_the_picture_whatever_the_model_says():
    mesh, photo = haired(ellipsoid(scale=1.4), 0)
    below = FRONT.project(mesh.vertices)[:, 1] > 1
    before = mesh.vertices[:, 2] > 0.08
    assert (below & before).sum() > 200
    guess = replace(mesh, colors=np.where(below[:, None], SKIN * 0.4, mesh.colors).astype(np.float32))
    painted = with_photo(guess, photo, finer=False).colors[below & before]
    np.testing.assert_allclose(painted, np.broadcast_to(SKIN, painted.shape), atol=0.12)


def test_strands_are_drawn_out_along_their_way_from_the_crown():
    mesh = ellipsoid()
    pattern = strands(mesh.vertices)
    assert pattern.mean() == pytest.approx(0, abs=0.1)
    assert 0.6 < pattern.std() < 1
    np.testing.assert_array_equal(pattern, strands(mesh.vertices))
    behind = mesh.vertices[(mesh.vertices[:, 2] < -0.15) & (np.abs(mesh.vertices[:, 0]) < 0.05)]
    down, across = (strands(behind + 0.005 * np.array(way)) - strands(behind) for way in ((0, 1, 0), (1, 0, 0)))
    assert across.std() > 1.4 * down.std()


def test_what_is_before_the_head_is_not_smeared_over_it():
    """A green ball before the head: green nowhere but on the ball itself."""
    head = ellipsoid()
    ball = replace(ellipsoid((0.03, 0.02, 0.38), scale=0.22, detail=5))
    green = np.array([0.1, 0.9, 0.1])
    both = together(head, ball)
    camera = Camera.orbit(20, 0, look_at=(0, 0, 0))
    raster = rasterize(both.vertices, both.triangles, camera, SIZE)
    crop, matte = picture(both, camera)
    crop[raster.triangle >= len(head.triangles)] = green
    painted = with_photo(both, Photo(crop, matte, camera), finer=False)
    of_head = painted.colors[: len(head.vertices)]
    assert (of_head[:, 1] - of_head[:, 0]).max() < 0.02
    assert (painted.colors[len(head.vertices) :, 1] > 0.8).sum() > 200


def test_a_head_that_is_narrower_in_the_photo_gets_nothing_of_the_background():
    mesh = ellipsoid()
    crop, matte = picture(replace(mesh, vertices=mesh.vertices * (0.85, 1, 1)), FRONT)
    painted = with_photo(mesh, Photo(crop, matte, FRONT))
    assert (painted.colors[:, 2] / painted.colors[:, 0]).max() < SKIN[2] / SKIN[0] + 0.03


def test_the_far_side_of_a_symmetric_head_has_the_near_sides_detail():
    mesh, camera = ellipsoid(), Camera.orbit(40, 0, look_at=(0, 0, 0))
    spot = np.linalg.norm(mesh.vertices - RADII * (0.8, 0, 0.6), axis=1) < 0.03
    truth = np.where(spot[:, None], SKIN * 0.4, SKIN).astype(np.float32)
    raster = rasterize(mesh.vertices, mesh.triangles, camera, SIZE)
    crop = raster.interpolated(truth, mesh.triangles).astype(np.float32)
    painted = with_photo(mesh, Photo(crop, (raster.triangle >= 0).astype(np.float32), camera), finer=False)
    mirrored = np.linalg.norm(mesh.vertices - RADII * (-0.8, 0, 0.6), axis=1) < 0.02
    beside = np.linalg.norm(mesh.vertices - RADII * (-0.8, 0, 0.6), axis=1)
    around = painted.colors[(beside > 0.045) & (beside < 0.06)].mean()
    assert painted.colors[mirrored].mean() < 0.6 * around
    assert around == pytest.approx(SKIN.mean(), abs=0.05)


def test_without_anything_seen_the_colours_are_the_models():
    mesh = ellipsoid(detail=4)
    nobody = Photo(np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.float32), FRONT)
    np.testing.assert_array_equal(with_photo(mesh, nobody).colors, mesh.colors)


def test_points_behind_others_are_not_seen():
    mesh = together(ellipsoid(detail=5), ellipsoid((0, 0, -0.6), detail=5))
    sight = Sight.of(mesh.vertices, mesh.triangles, FRONT, np.ones((64, 64), np.float32))
    confidence = sight.confidence(mesh.vertices, mesh.normals)
    half = len(mesh.vertices) // 2
    assert confidence[:half].max() == 1
    assert confidence[half:].max() == 0


def test_pictures_are_sampled_between_their_pixels():
    ramp = np.broadcast_to((np.arange(8) + 0.5) / 8, (4, 8)).astype(np.float32)
    places = np.array([[0.1, 0.5], [0.5, 0.2], [0.9, 0.9], [1.5, 0.5]])
    np.testing.assert_allclose(sample(ramp, places), [0.1, 0.5, 0.9, 15 / 16], atol=1e-6)


def grid(steps: int) -> Surface:
    axis = np.linspace(0, 1, steps)
    x, y = np.meshgrid(axis, axis)
    vertices = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(steps - 1)[:, None] * steps + np.arange(steps - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + steps], 1)
    upper = np.stack([corner + 1, corner + steps + 1, corner + steps], 1)
    return vertices, np.concatenate([lower, upper]).astype(np.int32)


def test_a_membrane_is_flat_between_what_is_known_and_keeps_given_differences():
    vertices, triangles = grid(60)
    edges = mesh_edges(triangles)
    wave = np.sin(9 * vertices[:, :1]) * np.cos(7 * vertices[:, 1:2])
    rim = (vertices[:, :2].min(1) == 0) | (vertices[:, :2].max(1) == 1)
    known = np.where(rim[:, None], wave + 2 * vertices[:, :1] + vertices[:, 1:2], 0)
    strength = np.where(rim, np.inf, 0)
    start, end = edges.T
    found = membrane(vertices, edges, known, strength, wave[end] - wave[start])
    np.testing.assert_allclose(found, wave + 2 * vertices[:, :1] + vertices[:, 1:2], atol=4e-3)


def test_split_triangles_stay_closed_and_in_place():
    sphere = trimesh.creation.icosphere(3)
    surface = sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32)
    edges = mesh_edges(surface[1])
    for share in (0.0, 0.1, 0.5, 1.0):
        chosen = edges[np.random.default_rng(1).random(len(edges)) < share]
        vertices, triangles = split_edges(surface, chosen)
        split = trimesh.Trimesh(vertices, triangles, process=False)
        assert len(vertices) == len(surface[0]) + len(chosen)
        assert len(triangles) == len(surface[1]) + 2 * len(chosen)
        assert split.is_watertight
        assert split.is_winding_consistent
        assert split.volume == pytest.approx(sphere.volume, rel=1e-5)
        assert split.area == pytest.approx(sphere.area, rel=1e-5)
