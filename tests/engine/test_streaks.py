"""A head's sides have no streaks of what its front shows; the front, the back and the other planes stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import Delaunay
from surface_fields import CENTER, LEVEL, RADII, ellipsoid_field

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.surface import MeshOptions, Photo, extract_mesh
from tpn_engine.surface.colors import vertex_colors
from tpn_engine.surface.streaks import even_colors


def striped(field: TriplaneField, plane: int) -> TriplaneField:
    """The field with stripes two texels wide in one plane's channel that gives red."""
    planes = field.planes.clone()
    rows = torch.arange(planes.shape[-1]) // 2 % 2
    planes[plane, 1] = 0.3 * (2 * rows[:, None] - 1)
    return replace(field, planes=planes)


def around_head(count: int = 8000) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] all over the ellipsoid and their normals."""
    turn, height = np.arange(count) * np.pi * (1 + 5**0.5), 1 - (2 * np.arange(count) + 1) / count
    level = np.sqrt(1 - height**2)
    unit = np.stack([np.cos(turn) * level, height, np.sin(turn) * level], 1)
    normals = unit / RADII
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return (CENTER + RADII * unit).astype(np.float32), normals.astype(np.float32)


def test_stripes_of_the_front_plane_end_where_the_side_begins() -> None:
    field = striped(ellipsoid_field("xy_xz_yz"), 0)
    vertices, normals = around_head()
    plain, even = vertex_colors(field, vertices), even_colors(field, vertices, normals, None)
    side = np.abs(normals[:, 2]) < 0.15
    assert side.sum() > 500
    assert even[side, 0].std() < 0.25 * plain[side, 0].std()
    elsewhere = (normals[:, 2] > 0.6) | (normals[:, 2] < -0.6)
    np.testing.assert_array_equal(even[elsewhere], plain[elsewhere])


def test_what_the_other_planes_know_stays() -> None:
    field = striped(ellipsoid_field("xy_xz_yz"), 2)
    vertices, normals = around_head()
    plain, even = vertex_colors(field, vertices), even_colors(field, vertices, normals, None)
    assert plain[:, 0].std() > 0.03
    np.testing.assert_allclose(even[:, 0], plain[:, 0], atol=1e-3)


def test_meshes_in_the_photos_colours_have_even_sides_and_others_are_the_models() -> None:
    field = striped(ellipsoid_field("xy_xz_yz"), 0)
    nobody = Photo(np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.float32), Camera.orbit(0, 0))
    meshes = [
        extract_mesh(field, MeshOptions(96, level=LEVEL, colors=colors), photo=nobody, matted=True)
        for colors in ("model", "photo")
    ]
    side = np.abs(meshes[0].normals[:, 2]) < 0.15
    spread = [mesh.colors[side, 0].std() for mesh in meshes]
    assert spread[1] < 0.4 * spread[0]
    np.testing.assert_array_equal(meshes[0].colors, vertex_colors(field, meshes[0].vertices))


def test_light_along_the_outline_does_not_run_along_the_sides() -> None:
    field = ellipsoid_field("xy_xz_yz")
    camera = Camera.orbit(0, 0, look_at=(0.05, -0.03, 0.08))
    vertices, normals = around_head()
    places = camera.project(vertices)[:, :2]
    size = 128
    columns = np.stack(np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2), -1).reshape(-1, 2)
    hull = Delaunay(places)
    matte = (hull.find_simplex(columns) >= 0).reshape(size, size).astype(np.float32)
    outline = Silhouette.of(matte, torch.from_numpy(camera.label), LEVEL)
    planes = field.planes.clone()
    texels = (torch.arange(planes.shape[-1]) + 0.5) / planes.shape[-1] * 2 - 1
    x, y = torch.meshgrid(texels, texels, indexing="xy")
    flat = torch.stack([x, y], -1) * field.box.warp / 2
    form = (((flat - torch.tensor(CENTER[:2])) / torch.tensor(RADII[:2])) ** 2).sum(-1)
    planes[0, 1] += torch.where(form > 0.9, 0.6, 0.0)  # a bright rim on the front plane
    bright = replace(field, planes=planes)
    side = np.abs(normals[:, 2]) < 0.15
    plain = vertex_colors(field, vertices)[side, 0]
    rim, inner = (even_colors(bright, vertices, normals, bound)[side, 0] for bound in (None, outline))
    assert (rim - plain).mean() > 0.05
    assert np.abs(inner - plain).mean() < 0.4 * (rim - plain).mean()
