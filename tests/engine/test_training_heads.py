"""The head sampler: its geometry and light against what is known, its pictures against exact balls and squares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_head_assets import CUBE, CUBE_QUADS, ball, write_toy_assets

from tpn_engine.camera import Camera
from tpn_engine.errors import CancelledError, FileError
from tpn_engine.progress import Progress
from tpn_engine.training.data import HeadViews
from tpn_engine.training.heads.__main__ import main as render_command
from tpn_engine.training.heads.accessories import (
    Accessories,
    Earrings,
    Glasses,
    Headwear,
    sample_accessories,
    sample_glasses,
    sample_headwear,
)
from tpn_engine.training.heads.assets import HeadAssets, texels_at
from tpn_engine.training.heads.body_meshes import eyeball_sizes
from tpn_engine.training.heads.build import HeadBuilder
from tpn_engine.training.heads.cameras import training_cameras
from tpn_engine.training.heads.clothing import Clothing, coverage, thickness
from tpn_engine.training.heads.dataset import RenderJob, render_dataset
from tpn_engine.training.heads.expression import WIDEST_GAP, Expression, relaxed
from tpn_engine.training.heads.facial_hair import grow_brows
from tpn_engine.training.heads.figure import make_figure
from tpn_engine.training.heads.geometry import (
    clipped,
    fibonacci_sphere,
    quads_to_triangles,
    sample_surface,
    similarity,
    unit,
    vertex_normals,
)
from tpn_engine.training.heads.glasses import glasses_shape
from tpn_engine.training.heads.hair import KINDS, OVER_AN_EYE, Hairstyle, sample_hair
from tpn_engine.training.heads.hair_meshes import plant_brows
from tpn_engine.training.heads.headwear import CENTRES, headwear_shape
from tpn_engine.training.heads.identity import sample_identity
from tpn_engine.training.heads.light import Light, harmonics_basis, irradiance, sample_light
from tpn_engine.training.heads.mesh import Look, Mesh, Surface
from tpn_engine.training.heads.renderer import Renderer
from tpn_engine.training.heads.ribbons import along_ribbons, make_ribbons
from tpn_engine.training.heads.scalp_hair import SECTIONS, SKULL_CENTRE, grow_scalp_hair
from tpn_engine.training.heads.sheet import main as sheet_command
from tpn_engine.training.heads.subdivision import catmull_clark, refine_corners
from tpn_engine.training.heads.transfer import light_transfer, occluder, unshadowed_transfer

SIZE = 128


# Subdivision


def test_cube_is_subdivided_as_by_hand():
    step = catmull_clark(CUBE_QUADS, 8)
    points = step.matrix @ CUBE
    assert points.shape == (8 + 12 + 6, 3)
    assert step.quads.shape == (24, 4)
    corners, edges, faces = points[:8], points[8:20], points[20:]
    np.testing.assert_allclose(corners, CUBE * 5 / 9, atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(edges), axis=1), np.tile([0, 0.75, 0.75], (12, 1)), atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(faces), axis=1), np.tile([0, 0, 1], (6, 1)), atol=1e-12)


def test_subdivision_is_a_partition_of_unity_and_keeps_the_winding():
    vertices, quads = CUBE, CUBE_QUADS
    for _ in range(3):
        step = catmull_clark(quads, len(vertices))
        np.testing.assert_allclose(np.asarray(step.matrix.sum(1)).ravel(), 1, atol=1e-12)
        assert step.matrix.min() >= 0
        vertices, quads = step.matrix @ vertices, step.quads
    triangles = quads_to_triangles(quads)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    assert 0 < volume < 8
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], 2).reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_limit_point_of_a_corner_is_the_same_from_every_level():
    """The limit mask of Catmull-Clark, (n^2 P + 4 sum E + sum F) / (n (n + 5)), is invariant."""

    def limit(vertices: np.ndarray, quads: np.ndarray, vertex: int) -> np.ndarray:
        around = quads[(quads == vertex).any(1)]
        n = len(around)
        beside = set(around.ravel().tolist()) - {vertex}
        opposite = {int(quad[(list(quad).index(vertex) + 2) % 4]) for quad in around}
        edge_sum = vertices[list(beside - opposite)].sum(0)
        return (n * n * vertices[vertex] + 4 * edge_sum + vertices[list(opposite)].sum(0)) / (n * (n + 5))

    vertices, quads = CUBE, CUBE_QUADS
    for _ in range(3):
        np.testing.assert_allclose(limit(vertices, quads, 7), [0.5, 0.5, 0.5], atol=1e-12)
        step = catmull_clark(quads, len(vertices))
        vertices, quads = step.matrix @ vertices, step.quads


def test_border_of_an_open_sheet_stays_on_its_line():
    grid = np.array([[x, y, 0.0] for y in range(4) for x in range(4)])
    quads = np.array([[4 * y + x, 4 * y + x + 1, 4 * y + x + 5, 4 * y + x + 4] for y in range(3) for x in range(3)])
    step = catmull_clark(quads, len(grid))
    points = step.matrix @ grid
    assert len(points) == 16 + 24 + 9
    np.testing.assert_allclose(points[:, 2], 0)
    np.testing.assert_allclose(points[[1, 2]], grid[[1, 2]], atol=1e-12)
    np.testing.assert_allclose(points[0], [0.125, 0.125, 0], atol=1e-12)  # a B-spline rounds its corner
    on_border = points[np.abs(points[:, 1]) < 1e-9]
    np.testing.assert_allclose(np.sort(on_border[:, 0]), [0.5, 1, 1.5, 2, 2.5], atol=1e-12)


def test_texture_corners_are_split_linearly():
    uv = np.array([[[0, 0], [2, 0], [2, 4], [0, 4]]], float)
    fine = refine_corners(uv)
    assert fine.shape == (4, 4, 2)
    np.testing.assert_allclose(fine[0], [[0, 0], [1, 0], [1, 2], [0, 2]])
    np.testing.assert_allclose(fine[2], [[2, 4], [1, 4], [1, 2], [2, 2]])


# Geometry


def test_similarity_is_found_again():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(6, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    target = 0.3 * source @ turn.T + [1, 2, 3]
    found = similarity(source, target)
    assert found.scale == pytest.approx(0.3)
    np.testing.assert_allclose(found(source), target, atol=1e-12)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-12)


def test_surface_samples_follow_area_and_density():
    vertices = np.array(
        [[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5], [9, 9, 9], [9, 8, 9], [8, 9, 9]]
    )
    triangles = np.arange(9).reshape(3, 3)
    density = np.array([1.0] * 6 + [0.0] * 3)
    points = sample_surface(vertices.astype(float), triangles, density, 8000, np.random.default_rng(1))
    share = np.bincount(points.triangle, minlength=3) / len(points.triangle)
    np.testing.assert_allclose(share, [0.75, 0.25, 0], atol=0.02)
    np.testing.assert_allclose(points.barycentric.sum(1), 1)
    assert points.barycentric.min() >= 0
    first = points.of(vertices, triangles)[points.triangle == 0]
    np.testing.assert_allclose(first.mean(0), [1, 1 / 3, 0], atol=0.05)


# Light


def test_harmonics_are_orthonormal():
    directions = fibonacci_sphere(20000)
    basis = harmonics_basis(directions)
    np.testing.assert_allclose(basis.T @ basis * 4 * np.pi / len(directions), np.eye(9), atol=1e-4)


def test_irradiance_equals_brute_force_integration():
    rng = np.random.default_rng(2)
    harmonics = rng.normal(size=(9, 3))
    sphere = fibonacci_sphere(40000)
    radiance = harmonics_basis(sphere) @ harmonics
    normals = unit(rng.normal(size=(5, 3)))
    cosine = np.maximum(normals @ sphere.T, 0)
    integral = cosine @ radiance * (4 * np.pi / len(sphere)) / np.pi
    np.testing.assert_allclose(irradiance(normals, harmonics), integral, atol=2e-3)


def test_sampled_light_is_of_one_strength_and_repeatable():
    lights = [sample_light(np.random.default_rng(seed)) for seed in range(20)]
    front = np.array([irradiance(np.array([[0, 0, 1.0]]), light.harmonics)[0] for light in lights])
    assert ((front > 0.6) & (front < 1.6)).all()
    assert all((light.colors[0] > 0).all() for light in lights)
    np.testing.assert_array_equal(lights[3].harmonics, sample_light(np.random.default_rng(3)).harmonics)


def test_transfer_without_occluders_is_the_analytic_one():
    normals = unit(np.random.default_rng(3).normal(size=(50, 3)))
    transfer = light_transfer([], np.zeros((50, 3)), normals, directions=1024, offset=0.0)
    np.testing.assert_allclose(transfer, unshadowed_transfer(normals), atol=0.01)


def test_transfer_sees_half_the_sky_beside_a_wall_and_through_thin_hair():
    wall = np.array([[0.1, -50, -50], [0.1, 50, -50], [0.1, 50, 50], [0.1, -50, 50]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    point, up = np.zeros((1, 3)), np.array([[0, 1.0, 0]])

    def openness(transmittance: float) -> float:
        blockers = [occluder(wall, triangles, transmittance)]
        return float(light_transfer(blockers, point, up, directions=2048, offset=1e-3)[0, 0] / 0.282095)

    assert openness(0.0) == pytest.approx(0.5, abs=0.02)
    assert openness(0.4) == pytest.approx(0.7, abs=0.02)


# Cameras


def test_cameras_of_a_seed_are_the_published_ones():
    """Numbers of the data that the shipped model was trained on: a seed must stay the same head and views."""
    cameras = training_cameras(0, 6)
    front = [
        [0.99895638, -0.0360762, 0.02801171, -0.05530366],
        [-0.03444899, -0.99780542, -0.05654723, 0.15681991],
        [0.02999024, 0.05552324, -0.99800688, 2.6948745],
        [0, 0, 0, 1],
    ]
    np.testing.assert_allclose(cameras[0].pose, front, atol=1e-6)
    np.testing.assert_allclose(cameras[5].position, [1.6801988, 0.88618582, -1.9187514], atol=1e-6)


def test_cameras_look_at_the_head_from_all_around():
    views = [training_cameras(seed, 10) for seed in range(60)]
    for cameras in views:
        for camera in cameras:
            turn = camera.pose[:3, :3]
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
            assert np.linalg.det(turn) == pytest.approx(1, abs=1e-5)
            assert np.linalg.norm(camera.position) == pytest.approx(2.7, abs=1e-5)
            assert np.abs(camera.project(np.array([[0, 0, 0.05]]))[0, :2] - 0.5).max() < 0.3
        for portrait in cameras[:6]:  # the crop of an aligned photo has its middle there, whatever the yaw
            assert np.abs(portrait.project(np.zeros((1, 3)))[0, :2] - 0.5).max() < 0.12
        for profile in cameras[6:8]:  # from the nose to the back of the head
            along = profile.project(np.array([[0, 0, 0.2], [0, 0.05, -0.32]]))[:, 0]
            assert ((along > 0) & (along < 1)).all()
    position = np.array([[camera.position for camera in cameras] for cameras in views])
    yaw = np.degrees(np.arctan2(position[..., 0], position[..., 2]))
    assert np.abs(yaw[:, [0, 8]]).mean() < 12  # the kinds start again after eight
    assert (yaw[:, 6] > 35).all()
    assert (yaw[:, 7] < -35).all()
    assert (np.abs(yaw[:, 5]) > 90).all()
    assert np.abs(yaw[:, 1:4]).max() > 60
    np.testing.assert_array_equal(training_cameras(4, 3)[2].label, training_cameras(4, 6)[2].label)


# Hair


def test_ribbons_run_along_their_curves():
    rng = np.random.default_rng(5)
    along = np.linspace(0, 0.1, 7)
    roots = unit(rng.normal(size=(40, 3))) * 0.2
    sideways = unit(np.cross(roots, [0.3, 1, 0.2]))
    curves = roots[None] + sideways[None] * along[:, None, None]
    shade = rng.normal(size=40)
    ribbons = make_ribbons(curves, shade, np.zeros(3), rng, width=0.01, taper=0.25)
    assert len(ribbons.positions) == 40 * 7 * 2
    assert ribbons.triangles.shape == (40 * 6 * 2, 3)
    assert set(ribbons.triangles.ravel().tolist()) == set(range(40 * 7 * 2))
    pairs = ribbons.positions.reshape(40, 7, 2, 3)
    np.testing.assert_allclose(pairs.mean(2), curves.transpose(1, 0, 2), atol=1e-12)
    widths = np.linalg.norm(pairs[:, :, 1] - pairs[:, :, 0], axis=2)
    assert widths[:, 0].mean() == pytest.approx(0.01, rel=0.15)
    np.testing.assert_allclose(widths[:, -1] / widths[:, 0], 0.25)
    np.testing.assert_allclose(ribbons.tangents[:, :3].reshape(40, 7, 2, 3)[:, 2, 0], sideways, atol=1e-9)
    np.testing.assert_allclose(ribbons.tangents[:, 3].reshape(40, 14), np.repeat(shade[:, None], 14, 1))
    a, b, c = (ribbons.positions[ribbons.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).reshape(40, -1).sum(1) / 2
    np.testing.assert_allclose(area, widths.mean(1) * 0.1, rtol=0.15)
    np.testing.assert_allclose(along_ribbons(curves), pairs.mean(2).repeat(2, axis=1).reshape(-1, 3), atol=1e-12)


def skull() -> Surface:
    """A ball where the skull is, in EG3D units."""
    directions, quads = ball(4)
    points = SKULL_CENTRE + 0.22 * directions
    triangles = quads_to_triangles(quads)
    return Surface(points, vertex_normals(points, triangles), triangles)


@pytest.mark.parametrize("kind", KINDS)
def test_scalp_hair_grows_from_the_scalp_and_stays_outside(kind):
    skin = skull()
    scalp = (skin.points[:, 1] > 0.15).astype(float)
    style = Hairstyle(kind, "side", 0.2, 0.1, 0.4, 0.5, 0.01, 0.01, 80, 0.5, True, 0.1, 0.5, 0.3, True)
    hair = grow_scalp_hair(skin, scalp, style, np.random.default_rng(7))
    assert hair.strands.shape[0] == hair.guides.shape[0] == SECTIONS[kind]
    assert hair.strands.shape[1] == len(hair.guide) > 3000
    assert np.isfinite(hair.strands).all()
    assert hair.strands[0, :, 1].min() > 0.1
    height = np.linalg.norm(hair.strands - SKULL_CENTRE, axis=2) - 0.22
    np.testing.assert_allclose(height[0], 0, atol=2e-3)
    assert np.quantile(height[1:], 0.01) > 0
    length = np.linalg.norm(np.diff(hair.guides, axis=0), axis=2).sum(0)
    assert np.median(length) == pytest.approx(0.2, rel=0.5)


# Clothing and identity


def test_garment_covers_shoulders_and_leaves_the_neck():
    plain = Clothing((0.2, 0.2, 0.2), neck_radius=0.7, neck_depth=0.0, pattern="plain")
    points = np.array([[0, 7, 1.2], [0, 5.95, 0.6], [1.5, 5.5, 0], [0, 5.0, 1.0]])
    assert (coverage(points, plain) > 0).tolist() == [False, False, True, True]
    deep = replace(plain, neck_depth=0.8)
    assert (coverage(points, deep) > 0).tolist() == [False, False, True, False]
    assert thickness(np.array([0.0, 0.3])) == pytest.approx([0.014, 0.009], abs=1e-4)


def test_a_mesh_is_cut_along_a_line_across_its_triangles():
    values = np.array([[0, 0, 7], [1, 0, 7], [1, 1, 9], [0, 1, 9]], float)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    inside = values[:, 0] - 0.25  # the part right of x = 0.25 stays
    cut, kept = clipped(values, triangles, inside)
    corners = cut[kept]
    assert corners[..., 0].min() == pytest.approx(0.25)
    np.testing.assert_allclose(corners[..., 2], 7 + 2 * corners[..., 1])
    across, along = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = (across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]) / 2
    assert (areas >= 0).all()
    assert areas.sum() == pytest.approx(0.75)
    np.testing.assert_array_equal(cut[:4], values)


# The renderer


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with closing(Renderer(SIZE, 2)) as made:
        yield made


def even_light() -> Light:
    """White light of irradiance one from everywhere, and no lamps."""
    harmonics = np.zeros((9, 3))
    harmonics[0] = 1 / 0.282095
    return Light(harmonics, np.zeros((3, 3)), np.zeros((3, 3)))


def matte(points: np.ndarray, normals: np.ndarray, uv: np.ndarray, triangles: np.ndarray, texture: np.ndarray) -> Mesh:
    transfer = unshadowed_transfer(normals)
    return Mesh(points, normals, uv, transfer, triangles, texture, "glossy", Look(specular=0.0))


def plain(*rgb: int) -> np.ndarray:
    return np.full((2, 2, 3), rgb, np.uint8)


def shown(texel: np.ndarray) -> np.ndarray:
    """What an sRGB texel in [0,1] looks like in even light: the shaders' curves, written once more."""
    linear = texel * texel * (0.2 * texel + 0.8)
    return (linear * (1 + 0.12 * linear) / (1 + 0.55 * linear) * 1.25) ** (1 / 2.2)


def ball_mesh(centre: np.ndarray, radius: float) -> Mesh:
    directions, quads = ball(5)
    triangles = quads_to_triangles(quads)
    uv = np.zeros((len(directions), 2), np.float32)
    return matte(centre + radius * directions, directions, uv, triangles, plain(200, 150, 100))


def square(centre: np.ndarray, camera: Camera, half: float, texture: np.ndarray) -> Mesh:
    """A square that faces the camera, its picture upright."""
    right, down, forward = camera.pose[:3, :3].T.astype(float)
    corners = [(-1, 1), (1, 1), (1, -1), (-1, -1)]  # right, down
    points = np.array([centre + half * (a * right + b * down) for a, b in corners])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return matte(points, np.tile(-forward, (4, 1)), uv, np.array([[0, 1, 2], [0, 2, 3]]), texture)


def pixel_rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Through the pixels' centres: origin [3], directions [S,S,3] of depth one."""
    at = (np.arange(SIZE) + 0.5) / SIZE
    u, v = np.meshgrid(at, at)
    k = camera.intrinsics.astype(float)
    local = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1)
    return camera.position.astype(float), local @ camera.pose[:3, :3].T.astype(float)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (35, -20), (200, 15)])
def test_ball_has_exact_mask_depth_and_normals(renderer, yaw, pitch):
    centre, radius = np.array([0.05, -0.04, 0.1]), 0.3
    camera = Camera.orbit(yaw, pitch)
    renderer.load([ball_mesh(centre, radius)])
    picture = renderer.render(camera, even_light())

    origin, ray = pixel_rays(camera)
    a, b = (ray * ray).sum(-1), (ray * (origin - centre)).sum(-1)
    discriminant = b * b - a * (((origin - centre) ** 2).sum() - radius**2)
    hit = discriminant > 0
    depth = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    normal = (origin + ray * depth[..., None] - centre) / radius

    inside = discriminant > 0.05 * discriminant.max()  # away from the silhouette, where a pixel has one depth
    outside = discriminant < -0.05 * discriminant.max()
    assert (picture.alpha[inside] == 255).all()
    assert (picture.alpha[outside] == 0).all()
    assert (picture.depth[outside] == 0).all()
    assert picture.alpha.sum() / 255 == pytest.approx(hit.sum(), rel=0.005)
    assert np.abs(picture.depth - depth)[inside].max() < 3e-3
    assert np.abs(picture.depth - depth)[inside].mean() < 3e-4
    assert (picture.normal * normal).sum(-1)[inside].min() > np.cos(np.radians(1.5))
    assert np.abs(picture.rgb[inside] / 255 - shown(np.array([200, 150, 100]) / 255)).max() < 1.5 / 255


def test_camera_label_projects_onto_what_is_seen(renderer):
    camera = Camera.from_label(training_cameras(3, 6)[2].label)
    places = np.array([[0.2, 0.1, 0.1], [-0.15, -0.2, 0.2], [0.05, 0.3, -0.2]])
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    renderer.load([square(place, camera, 0.02, plain(*c)) for place, c in zip(places, colors, strict=True)])
    picture = renderer.render(camera, even_light())
    where = camera.project(places)
    for channel, (u, v, depth) in enumerate(where):
        mine = (picture.rgb[..., channel] > 128) & (picture.alpha > 128)
        rows, columns = np.nonzero(mine)
        assert (columns.mean() + 0.5) / SIZE == pytest.approx(u, abs=0.5 / SIZE)
        assert (rows.mean() + 0.5) / SIZE == pytest.approx(v, abs=0.5 / SIZE)
        np.testing.assert_allclose(picture.depth[mine], depth, atol=2e-5)


def test_picture_is_upright_and_in_order(renderer):
    camera = Camera.orbit(0, 0)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32], texture[:32, 32:], texture[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    renderer.load([square(np.zeros(3), camera, 0.2, texture)])
    rgb = renderer.render(camera, even_light()).rgb
    u, v, _ = (camera.project(np.zeros((1, 3)))[0] * SIZE).astype(int)
    quarters = [rgb[v - 10, u - 10], rgb[v - 10, u + 10], rgb[v + 10, u - 10], rgb[v + 10, u + 10]]
    assert [int(quarter.argmax()) for quarter in quarters[:3]] == [0, 1, 2]
    assert quarters[3].max() < 10
    assert min(quarter.max() for quarter in quarters[:3]) > 230


def test_nearer_hides_farther_and_the_box_cuts(renderer):
    camera = Camera.orbit(0, 0, focal=2.0)
    far = square(np.array([0, 0, -0.2]), camera, 0.3, plain(255, 0, 0))
    near = square(np.array([0, 0, 0.3]), camera, 0.05, plain(0, 255, 0))
    outside = square(np.array([0.45, 0.0, 0.0]), camera, 0.2, plain(0, 0, 255))
    renderer.load([near, far, outside])
    picture = renderer.render(camera, even_light())
    u, v, depth = camera.project(np.array([[0, 0, 0.3]]))[0]
    assert picture.rgb[int(v * SIZE), int(u * SIZE)].argmax() == 1
    assert picture.depth[int(v * SIZE), int(u * SIZE)] == pytest.approx(depth, abs=2e-3)
    edge = int(camera.project(np.array([[0.5, 0, 0]]))[0, 0] * SIZE)
    blue = (picture.rgb[..., 2] > 128) & (picture.alpha > 0)
    assert np.nonzero(blue)[1].max() in (edge - 1, edge)


def test_decals_tint_without_moving_the_surface(renderer):
    camera = Camera.orbit(0, 0)
    base = square(np.zeros(3), camera, 0.2, plain(255, 255, 255))
    lifted = square(np.array([0, 0, 0.01]), camera, 0.1, np.full((2, 2, 4), 255, np.uint8))
    decal = replace(lifted, material="decal", look=Look(tint=(0.0, 0.0, 0.0), opacity=0.5))
    renderer.load([base])
    bare = renderer.render(camera, even_light())
    renderer.load([decal, base])
    drawn = renderer.render(camera, even_light())
    np.testing.assert_array_equal(drawn.depth, bare.depth)
    np.testing.assert_array_equal(drawn.alpha, bare.alpha)
    u, v, _ = (camera.project(np.zeros((1, 3)))[0] * SIZE).astype(int)
    assert drawn.rgb[v, u].max() < 0.85 * bare.rgb[v, u].min()
    assert (drawn.rgb[v, u - 30] == bare.rgb[v, u - 30]).all()


def test_shadowed_transfer_darkens(renderer):
    camera = Camera.orbit(0, 0)
    bright = square(np.zeros(3), camera, 0.2, plain(200, 200, 200))
    u, v, _ = (camera.project(np.zeros((1, 3)))[0] * SIZE).astype(int)
    seen = []
    for share in (1.0, 0.25):
        renderer.load([replace(bright, transfer=bright.transfer * share)])
        seen.append(int(renderer.render(camera, even_light()).rgb[v, u, 0]))
    assert seen[1] < 0.7 * seen[0]


def test_missing_egl_is_told_in_a_sentence(tmp_path):
    script = "from tpn_engine.training.heads.renderer import Renderer; Renderer(8)"
    without = os.environ | {"__EGL_VENDOR_LIBRARY_DIRS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=without, capture_output=True, text=True, check=False)
    assert "DeviceError: No OpenGL through EGL" in done.stderr
    assert "apt-get install libegl1" in done.stderr


# Whole heads, from assets in the true format with an egg for a head


@pytest.fixture(scope="module")
def assets_folder(tmp_path_factory) -> Path:
    return write_toy_assets(tmp_path_factory.mktemp("heads") / "assets")


@pytest.fixture(scope="module")
def builder(assets_folder) -> HeadBuilder:
    return HeadBuilder(HeadAssets.load(assets_folder))


def test_identities_pair_their_shapes(builder):
    for seed in range(10):
        person = sample_identity(builder.assets.targets, np.random.default_rng(seed))
        assert sum(person.ancestry) == pytest.approx(1)
        assert not any("head-scale" in name for name in person.shape)
        assert len([name for name in person.shape if "nose-hump" in name]) == 1
        left = next(name for name in person.shape if "/l-ear" in name)
        assert abs(person.shape[left] - person.shape[left.replace("/l-", "/r-")]) < 0.2


def test_brows_lie_on_the_painted_brow(builder):
    parameters = builder.head(2).parameters
    figure = make_figure(builder.assets, parameters.identity, parameters.expression)
    rng = np.random.default_rng(0)
    planted = plant_brows(builder.assets, figure.skin, 400, rng)
    layout = builder.assets.skin
    painted = builder.assets.masks["brow"][texels_at(planted.of(layout.atlas_uv, layout.textured_triangles))]
    assert len(painted) > 40
    assert painted.min() > 0
    hairs = grow_brows(figure.skin, planted, 0.012, rng).reshape(-1, 3)
    nearest = figure.skin.nearest(hairs)
    height = ((hairs - figure.skin.points[nearest]) * figure.skin.normals[nearest]).sum(1)
    assert np.abs(height).max() < 0.008
    turns = np.diff(hairs.reshape(5, -1, 3), axis=0)
    assert (unit(turns[0]) * unit(turns[-1])).sum(-1).min() > 0.7  # no zig-zag


def test_wide_lids_are_lowered_and_others_left(builder):
    calm = Expression({"jawOpen": 0.2}, (0.0, 0.0))
    assert relaxed(calm, gap=WIDEST_GAP * 0.9, closing=0.03).weights["eyeBlink_L"] == 0
    lowered = relaxed(calm, gap=WIDEST_GAP + 0.01, closing=0.03).weights
    assert lowered["eyeBlink_L"] == lowered["eyeBlink_R"] == pytest.approx(0.01 / 0.03, rel=0.2)
    assert lowered["jawOpen"] == 0.2


def test_eyeballs_shrink_under_tight_lids(builder):
    base = builder.assets.base
    assert (eyeball_sizes(builder.assets, base * 3) == 1).all()
    assert (eyeball_sizes(builder.assets, base * 0.01) < 0.9).all()


def test_no_hair_hangs_over_an_eye():
    rng = np.random.default_rng(0)
    drawn = {sample_hair(female, 0.3, rng) for female in (False, True) for _ in range(500)}
    assert "strands" in drawn
    assert not drawn & {"hair_" + name for name in OVER_AN_EYE}


def face_with_nose() -> Surface:
    """A ball for a head, with a nose and ears in front and beside it, EG3D units."""
    directions, quads = ball(5)
    x, y, z = directions.T
    nose = 0.06 * np.exp(-((x / 0.12) ** 2) - (y / 0.25) ** 2) * (z > 0)
    ears = 0.05 * np.exp(-(((z + 0.4) / 0.15) ** 2) - (y / 0.3) ** 2)
    points = directions * 0.2 * np.array([0.85, 1.2, 1]) + np.stack([np.sign(x) * ears, 0 * x, nose], 1)
    points += np.array([0, 0.05, -0.03])
    triangles = quads_to_triangles(quads)
    return Surface(points, vertex_normals(points, triangles), triangles)


@pytest.mark.parametrize("radius", [0.002, 0.006])
def test_glasses_stand_before_the_eyes_and_cut_nothing(radius):
    skin = face_with_nose()
    eyes = np.array([[-0.084, 0.078, 0.08], [0.084, 0.078, 0.08]])
    glasses = Glasses((0.1, 0.1, 0.1), radius, (0.058, 0.042), 2.5, dark=True)
    frame, lenses = glasses_shape(glasses, eyes, skin)
    for eye in eyes:
        before = np.linalg.norm(lenses.points[:, :2] - eye[:2], axis=1) < 0.04
        assert before.any()
        assert lenses.points[before, 2].min() > eye[2] + 0.03
    assert np.abs(frame.points[:, 0].min() + frame.points[:, 0].max()) < 0.01
    nearest = skin.nearest(frame.points)
    height = ((frame.points - skin.points[nearest]) * skin.normals[nearest]).sum(1)
    ear_front = skin.points[skin.points[:, 0].argmax(), 2] + 0.1
    assert height[frame.points[:, 2] > ear_front].min() > 0
    assert frame.points[:, 2].min() < ear_front  # temples go back to the ears
    assert np.isfinite(frame.normals).all()
    np.testing.assert_allclose(np.linalg.norm(frame.normals, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["cap", "scarf"])
def test_headwear_covers_the_scalp_and_leaves_the_face(kind):
    skin = face_with_nose()
    worn = Headwear(kind, (0.2, 0.1, 0.1), 84 if kind == "cap" else 114, 0.012, 0.02, 1.0)
    shell = headwear_shape(worn, skin)
    a, b, c = (shell.points[shell.triangles[:, k]] for k in range(3))
    outward = (np.cross(b - a, c - a) * (a - CENTRES[kind])).sum(1)
    assert (outward > 0).mean() > 0.97  # what is one-sided must be seen from outside
    blocker = occluder(shell.points, shell.triangles, 0.0)

    def hidden(points: np.ndarray, toward: np.ndarray) -> np.ndarray:
        rays = np.broadcast_to(toward, points.shape).astype(np.float32)
        return blocker.scene.run(points.astype(np.float32), rays, query="OCCLUDED") >= 0

    top = skin.points[(skin.points[:, 1] > 0.24) & (skin.points[:, 2] < 0.05)]
    back = skin.points[(skin.points[:, 1] > 0.12) & (skin.points[:, 2] < -0.15)]
    assert hidden(top, np.array([0, 1, 0])).mean() > 0.95
    assert hidden(back, np.array([0, 0, -1])).mean() > 0.95
    face = skin.points[(skin.points[:, 2] > 0.08) & (skin.points[:, 1] < 0.12) & (skin.points[:, 1] > -0.05)]
    assert not hidden(face, np.array([0, 0, 1])).any()


def test_accessories_are_worn_as_often_as_said():
    rng = np.random.default_rng(0)
    women = [sample_accessories(True, False, rng) for _ in range(3000)]
    men = [sample_accessories(False, False, rng) for _ in range(3000)]
    assert np.mean([worn.glasses is not None for worn in men]) == pytest.approx(0.12, abs=0.03)
    assert np.mean([worn.headwear is not None for worn in women + men]) == pytest.approx(0.06, abs=0.02)
    assert np.mean([worn.earrings is not None for worn in women]) == pytest.approx(0.12, abs=0.03)
    assert not any(worn.earrings for worn in men)


def test_worn_things_become_meshes(builder):
    head = builder.head(2)
    figure = make_figure(builder.assets, head.parameters.identity, head.parameters.expression)
    rng = np.random.default_rng(0)

    def count(**worn: object) -> int:
        accessories = replace(Accessories(None, None, None), **worn)
        bald = replace(head.parameters, hair="bald", accessories=accessories)
        return len(builder.meshes(bald, figure))

    bare = count()
    assert count(glasses=replace(sample_glasses(rng), dark=False)) == bare + 1
    assert count(glasses=replace(sample_glasses(rng), dark=True)) == bare + 2
    assert count(earrings=Earrings("hoop", (0.6, 0.5, 0.2), 0.03)) == bare + 1
    assert count(headwear=sample_headwear(True, rng)) == bare + 1


def test_ages_have_bands(builder):
    person = sample_identity(builder.assets.targets, np.random.default_rng(1))
    assert replace(person, child=True, old=0.0).age == "child"
    assert [replace(person, child=False, old=old).age for old in (0.1, 0.5, 0.9)] == ["young", "middle", "old"]


def test_a_seed_names_one_head(builder):
    first, again, other = builder.head(3), builder.head(3), builder.head(4)
    assert first.parameters.seed == again.parameters.seed != other.parameters.seed
    assert [mesh.material for mesh in first.meshes] == [mesh.material for mesh in again.meshes]
    for one, two in zip(first.meshes, again.meshes, strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)
        np.testing.assert_array_equal(one.transfer, two.transfer)
        np.testing.assert_array_equal(one.texture, two.texture)


def test_skin_is_painted_in_the_head_s_tone(builder):
    for seed in range(4):
        head = builder.head(seed)
        face = head.meshes[0].texture[550:590].reshape(-1, 3).mean(0) / 255
        np.testing.assert_allclose(face, head.parameters.skin.tone, atol=0.06)


def test_heads_are_rendered_once_and_whole(builder, assets_folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = ["heads", "--assets", str(assets_folder), "--out", str(out), "--first", "5", "--count", "2"]
    monkeypatch.setattr("sys.argv", [*arguments, "--views", "3", "--size", "64", "--processes", "2"])
    assert render_command() == 0
    assert sorted(path.name for path in out.iterdir()) == ["head_000005.npz", "head_000006.npz"]
    before = (out / "head_000005.npz").stat().st_mtime_ns
    (out / "head_000006.npz").unlink()
    assert render_command() == 0
    assert (out / "head_000005.npz").stat().st_mtime_ns == before
    assert "1 heads rendered" in capsys.readouterr().err

    person = builder.head(6).parameters
    with np.load(out / "head_000006.npz") as file:
        assert file["melanin"] == np.float32(person.skin.melanin)
        assert bool(file["female"]) == person.identity.female
        assert str(file["age"]) == person.identity.age

    head = HeadViews.load(out / "head_000006.npz")
    assert head.rgb.shape == (3, 64, 64, 3)
    assert head.rgb.dtype == head.alpha.dtype == np.uint8
    assert head.depth.dtype == np.float16
    assert [camera.label.tolist() for camera in head.cameras] == [c.label.tolist() for c in training_cameras(6, 3)]
    assert 0.1 < (head.alpha[0] > 128).mean() < 0.9
    assert ((head.depth > 0) == (head.alpha > 0)).mean() > 0.98
    assert 1.9 < head.depth[head.depth > 0].min() < head.depth.max() < 3.5

    assert sheet_command([str(out), str(tmp_path / "sheet.png")]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 64, 2 * 64)


def test_missing_assets_are_told_in_a_sentence(tmp_path):
    job = RenderJob(tmp_path / "nowhere", tmp_path / "out", 0, 1)
    with pytest.raises(FileError, match="does not hold the head assets"):
        render_dataset(job, 1)
    assert list((tmp_path / "out").iterdir()) == []


def test_rendering_can_be_cancelled(assets_folder, tmp_path):
    job = RenderJob(assets_folder, tmp_path / "out", 0, 500, views=1, size=32)
    with pytest.raises(CancelledError):
        render_dataset(job, 1, Progress(cancelled=lambda: True))
    assert len(job.missing()) > 400
