"""Head meshes of fields whose surface is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from surface_fields import CENTER, RADII, ellipsoid_field

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError
from tpn_engine.nets.presets import PlaneAxes
from tpn_engine.surface import HeadMesh, MeshOptions, extract_mesh
from tpn_engine.surface.cleanup import largest_component, remove_background, watertight

VOLUME = 4 / 3 * np.pi * RADII.prod()


def as_trimesh(mesh: HeadMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)


def sheet(z: float, half: float, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """An open square facing the viewer."""
    axis = np.linspace(-half, half, steps)
    x, y = np.meshgrid(axis, axis)
    vertices = np.stack([x, y, np.full_like(x, z)], -1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(steps - 1)[:, None] * steps + np.arange(steps - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + steps], 1)
    upper = np.stack([corner + 1, corner + steps + 1, corner + steps], 1)
    return vertices, np.concatenate([lower, upper]).astype(np.int32)


def ball(center: tuple[float, float, float], radius: float, detail: int = 3) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(detail, radius)
    return (sphere.vertices + center).astype(np.float32), sphere.faces.astype(np.int32)


def together(*surfaces: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in surfaces])
    triangles = [faces + start for (_, faces), start in zip(surfaces, starts[:-1], strict=True)]
    return np.concatenate([vertices for vertices, _ in surfaces]), np.concatenate(triangles).astype(np.int32)


def disc_matte(radius: float) -> np.ndarray:
    """A person who is a disc in the middle of the picture; `radius` in widths."""
    rows, columns = (np.indices((128, 128)) + 0.5) / 128 - 0.5
    return (np.hypot(rows, columns) < radius).astype(np.float32)


@pytest.mark.parametrize("axes", ["xy_xz_zx", "xy_xz_yz"])
def test_an_ellipsoid_is_where_and_how_large_it_should_be(axes: PlaneAxes):
    mesh = extract_mesh(ellipsoid_field(axes), MeshOptions(resolution=96))
    solid = as_trimesh(mesh)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume == pytest.approx(VOLUME, rel=2e-3)
    offsets = (mesh.vertices - CENTER) / RADII
    np.testing.assert_allclose((offsets**2).sum(1), 1, atol=5e-3)
    expected = offsets / RADII / np.linalg.norm(offsets / RADII, axis=1, keepdims=True)
    assert (mesh.normals * expected).sum(1).min() > np.cos(np.radians(4))
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    assert [value.dtype for value in (mesh.vertices, mesh.triangles, mesh.normals, mesh.colors)] == [
        np.float32,
        np.int32,
        np.float32,
        np.float32,
    ]


def test_colors_are_the_decoders_at_the_vertices():
    field = ellipsoid_field("xy_xz_yz")
    mesh = extract_mesh(field, MeshOptions(resolution=48, smooth=3, triangles=2000))
    np.testing.assert_allclose(mesh.colors, field.colors(torch.from_numpy(mesh.vertices)), atol=1e-6)
    assert np.ptp(mesh.colors, axis=0).min() > 0.05


def test_the_border_is_left_out_and_the_cut_is_closed():
    mesh = extract_mesh(ellipsoid_field("xy_xz_yz"), MeshOptions(resolution=64, border=15 / 64))
    step = 1 / 63
    assert np.abs(mesh.vertices).max() == pytest.approx(0.5 - 15 * step + step / 2, abs=1e-6)
    assert as_trimesh(mesh).is_watertight


def test_the_neck_is_cut_level_and_closed():
    field = ellipsoid_field("xy_xz_yz")
    whole = extract_mesh(field, MeshOptions(resolution=64)).vertices[:, 1]
    mesh = extract_mesh(field, MeshOptions(resolution=64, floor=-0.11))
    assert whole.min() < -0.3
    assert mesh.vertices[:, 1].min() == pytest.approx(-0.11, abs=1 / 63)
    assert mesh.vertices[:, 1].max() == whole.max()
    base = as_trimesh(mesh).face_normals[(mesh.vertices[mesh.triangles][..., 1] < -0.11 + 1 / 63).all(1)]
    np.testing.assert_allclose(base.mean(0)[[0, 2]], 0, atol=0.05)
    assert as_trimesh(mesh).is_watertight


def test_only_the_largest_component_stays_unless_all_are_wanted():
    field = ellipsoid_field("xy_xz_yz", island=0.06)
    assert as_trimesh(extract_mesh(field, MeshOptions(resolution=64))).body_count == 1
    everything = MeshOptions(resolution=64, largest_component=False)
    assert as_trimesh(extract_mesh(field, everything)).body_count == 2


def test_a_cavity_inside_the_head_goes_with_the_largest_component():
    outer, inner = ball((0, 0, 0), 0.3), ball((0, 0, 0), 0.1, detail=2)
    vertices, triangles = largest_component(together((inner[0], inner[1][:, ::-1]), outer))
    np.testing.assert_array_equal(vertices, outer[0])
    np.testing.assert_array_equal(triangles, outer[1])


def test_floaters_outside_the_matte_go_and_those_before_the_person_stay():
    head, beside, before = ball((0, 0, 0), 0.15), ball((0.28, 0, 0.1), 0.02), ball((0, 0, 0.4), 0.02)
    vertices, _ = remove_background(
        together(head, beside, before), Camera.orbit(0, 0, look_at=(0, 0, 0)), disc_matte(0.25), 0.5
    )
    np.testing.assert_array_equal(vertices, np.concatenate([head[0], before[0]]))


def test_a_background_sheet_behind_the_head_goes_even_if_it_touches_it():
    head, wall = ball((0, 0, 0), 0.15), sheet(-0.15, 0.5)
    vertices, triangles = together(head, wall)
    back = head[0][:, 2].argmin()
    nearest = np.linalg.norm(wall[0] - head[0][back], axis=1).argmin() + len(head[0])
    bridge = np.array([[back, nearest, nearest + 1]], np.int32)
    surface = remove_background(
        (vertices, np.concatenate([triangles, bridge])),
        Camera.orbit(0, 0, look_at=(0, 0, 0)),
        disc_matte(0.25),
        0.5,
    )
    assert len(surface[0]) > len(head[0])
    assert np.abs(surface[0][:, :2]).max() < 0.25


def test_what_the_matte_missed_stays_when_it_ends_inside_the_box():
    head = ball((0, 0, 0), 0.3)
    vertices, _ = remove_background(head, Camera.orbit(0, 0, look_at=(0, 0, 0)), disc_matte(0.2), 0.5)
    np.testing.assert_array_equal(vertices, head[0])


def test_a_matte_without_a_person_removes_nothing():
    head = ball((0, 0, 0), 0.3)
    vertices, _ = remove_background(head, Camera.orbit(0, 0), np.zeros((64, 64), np.float32), 0.5)
    np.testing.assert_array_equal(vertices, head[0])


def test_smoothing_removes_noise_and_keeps_the_volume():
    field = ellipsoid_field("xy_xz_yz")
    field.planes[0, 0] += torch.randn(256, 256, generator=torch.Generator().manual_seed(0)) * 0.03
    rough, smooth = (extract_mesh(field, MeshOptions(resolution=96, smooth=steps)) for steps in (0, 10))

    def error(mesh: HeadMesh) -> float:
        return float((((mesh.vertices - CENTER) / RADII) ** 2).sum(1).std())

    assert error(smooth) < 0.7 * error(rough)
    assert as_trimesh(smooth).volume == pytest.approx(VOLUME, rel=0.01)


def test_decimation_keeps_to_the_count_and_the_shape():
    field = ellipsoid_field("xy_xz_yz")
    mesh = extract_mesh(field, MeshOptions(resolution=64, triangles=3000))
    assert 2900 <= len(mesh.triangles) <= 3000
    assert as_trimesh(mesh).volume == pytest.approx(VOLUME, rel=0.01)
    whole = extract_mesh(field, MeshOptions(resolution=64))
    kept = extract_mesh(field, MeshOptions(resolution=64, triangles=10**6))
    np.testing.assert_array_equal(kept.vertices, whole.vertices)


def test_a_solid_has_no_holes():
    mesh = extract_mesh(ellipsoid_field("xy_xz_yz"), MeshOptions(resolution=64))
    open_top = mesh.triangles[(mesh.vertices[mesh.triangles][:, :, 1] < 0.15).all(1)]
    assert not trimesh.Trimesh(mesh.vertices, open_top, process=False).is_watertight
    closed = trimesh.Trimesh(*watertight((mesh.vertices, open_top)), process=False)
    assert closed.is_watertight
    assert closed.is_winding_consistent
    assert 0.7 * VOLUME < closed.volume < VOLUME
    printable = extract_mesh(
        ellipsoid_field("xy_xz_yz"), MeshOptions(resolution=64, border=0.25, triangles=4000, solid=True)
    )
    assert as_trimesh(printable).is_volume


def test_a_flat_sheet_is_no_solid():
    with pytest.raises(OptionError, match="solid"):
        watertight(sheet(0.0, 0.2))


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": 8},
        {"resolution": 5000},
        {"level": float("nan")},
        {"border": -0.1},
        {"floor": float("nan")},
        {"border": 0.49},
        {"smooth": -1},
        {"triangles": 3},
    ],
)
def test_options_out_of_range_are_refused_in_a_sentence(options: dict[str, float]):
    with pytest.raises(OptionError, match=r"\.$"):
        MeshOptions(**options)  # pyright: ignore[reportArgumentType]


def test_a_level_above_every_density_is_refused():
    with pytest.raises(OptionError, match="no surface"):
        extract_mesh(ellipsoid_field("xy_xz_yz"), MeshOptions(resolution=32, level=1000.0))
