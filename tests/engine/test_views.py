"""Views equal the generator's own rendering, and cameras stand where geometry puts them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from surface_fields import CENTER, RADII, ellipsoid_field
from tiny_model import tiny_network, tiny_preset

from tpn_engine.camera import RADIUS, Camera
from tpn_engine.errors import CancelledError, OptionError
from tpn_engine.nets.box import Box
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.presets import RenderingPreset
from tpn_engine.progress import Progress
from tpn_engine.views import render_view
from tpn_engine.views.cameras import HEAD_CENTER, SWING, Framing, around, cameras_along, ring, spiral
from tpn_engine.views.pictures import SHOWN, checked_show

BOX = RenderingPreset(box_limits=True, missed="empty")  # samples where the box is, however far away


def random_field() -> TriplaneField:
    """Smooth random planes: where the densest parts are, rays are stopped."""
    decoder = tiny_network().decoder.decoder
    coarse = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(1)) * 6
    planes = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")
    return TriplaneField(planes, decoder, "xy_xz_yz", Box())


def wall_field() -> TriplaneField:
    """Dense where |x| < 0.2 and z < 0.1, empty elsewhere: seen from the front, an upright wall."""
    field = random_field()
    planes = torch.zeros(3, 8, 256, 256)
    middle = (torch.arange(256) + 0.5) / 256 - 0.5
    planes[1, 0] = torch.where((middle[:, None] < 0.1) & (middle[None, :].abs() < 0.2), 3.0, -3.0)
    for parameter in field.decoder.parameters():
        parameter.zero_()
    first, last = field.decoder.net[0], field.decoder.net[2]
    assert isinstance(first, FullyConnected)
    assert isinstance(last, FullyConnected)
    first.weight[0, 0] = 8**0.5 * 1000  # the mean of the planes is 1 or -1
    last.weight[0, 0] = 16**0.5
    last.bias[0] = -100.0
    return TriplaneField(planes, field.decoder, "xy_xz_yz", Box())


def test_a_view_is_the_generators_own_raw_rendering() -> None:
    network, preset = tiny_network(), tiny_preset().generator
    field = random_field()
    camera = Camera.orbit(15, -5)
    with torch.inference_mode():
        label = torch.from_numpy(camera.label)[None]
        raw = network.decoder.render_raw(field.planes[None], label, 48)
    view = render_view(field, camera, 48, rendering=preset.rendering)
    expected = ((raw.image[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(view.rgb, expected, atol=1e-5)
    np.testing.assert_allclose(view.alpha, raw.weights[0, 0].numpy(), atol=1e-5)


def test_depth_is_along_the_cameras_axis_and_zero_where_nothing_is() -> None:
    camera = Camera.orbit(0, 0, look_at=(0.0, 0.0, 0.0))
    view = render_view(wall_field(), camera, 64)
    covered = view.alpha > 0.5
    assert covered[32, 32]
    assert not covered[32, 2]
    assert (view.depth[~covered] == 0).all()
    # Along the axis, not along the ray, so it is the same all over the wall.
    front = view.depth[:, 28:36]
    np.testing.assert_allclose(front, RADIUS - 0.1, atol=0.01)
    assert np.ptp(front) < 0.004


def test_views_are_the_same_every_time_and_report() -> None:
    field, heard = random_field(), []
    progress = Progress(lambda stage, fraction: heard.append((stage, fraction)))
    first = render_view(field, around(30), 32, progress=progress)
    second = render_view(field, around(30), 32)
    np.testing.assert_array_equal(first.rgb, second.rgb)
    assert first.rgb.dtype == np.float32
    assert heard[-1] == ("view", 1.0)


def test_views_can_be_cancelled_and_refuse_absurd_sizes() -> None:
    with pytest.raises(CancelledError):
        render_view(random_field(), around(0), 32, progress=Progress(cancelled=lambda: True))
    for size in (0, 8, 100000):
        with pytest.raises(OptionError):
            render_view(random_field(), around(0), size)


@pytest.mark.parametrize("path", [ring, spiral])
def test_the_loop_is_exact(path: Callable[..., list[Camera]]) -> None:
    """The last frame is as far from the first as the first from the second: no view comes twice in a row."""
    for count in (7, 48):
        positions = np.array([camera.position for camera in path(count)])
        np.testing.assert_array_equal(positions[0], around(0).position)
        steps = np.linalg.norm(positions - np.roll(positions, 1, axis=0), axis=1)
        assert steps[0] == pytest.approx(steps[1], rel=1e-5)
        assert steps.min() > 0.5 * steps.max()


def test_cameras_stand_on_a_circle_around_the_head_and_look_at_its_middle() -> None:
    cameras = ring(8, pitch=15)
    assert len(cameras) == 8
    for index, camera in enumerate(cameras):
        offset = camera.position - np.array(HEAD_CENTER)
        assert np.linalg.norm(offset) == pytest.approx(RADIUS, abs=1e-5)
        u, v, depth = camera.project(np.array([HEAD_CENTER]))[0]
        assert (u, v, depth) == pytest.approx((0.5, 0.5, RADIUS), abs=1e-5)
        assert np.degrees(np.arctan2(offset[0], offset[2])) % 360 == pytest.approx(45 * index, abs=1e-3)
        assert offset[1] > 0
        np.testing.assert_allclose(camera.pose[:3, :3] @ camera.pose[:3, :3].T, np.eye(3), atol=1e-6)


def test_a_spiral_turns_as_a_ring_and_swings_up_and_down() -> None:
    offsets = np.array([camera.position for camera in spiral(8, pitch=5)]) - np.array(HEAD_CENTER)
    pitch = np.degrees(np.arcsin(offsets[:, 1] / RADIUS))
    np.testing.assert_allclose(pitch[[0, 2, 4, 6]], [5, 5 + SWING, 5, 5 - SWING], atol=1e-3)
    yaw = np.degrees(np.arctan2(offsets[:, 0], offsets[:, 2])) % 360
    np.testing.assert_allclose(yaw, 45 * np.arange(8), atol=1e-3)


def test_cameras_refuse_angles_that_have_no_up() -> None:
    for yaw, pitch in ((0, 90), (0, -95), (float("nan"), 0), (0, float("nan"))):
        with pytest.raises(OptionError):
            around(yaw, pitch)
    for path, count, pitch in (("ring", 4, 90), ("spiral", 4, 75), ("ring", 0, 0), ("zigzag", 4, 0)):
        with pytest.raises(OptionError):
            cameras_along(path, count, pitch)


@pytest.mark.parametrize(
    "wrong",
    [
        {"radius": 0.4},
        {"radius": float("nan")},
        {"field_of_view": 0.5},
        {"field_of_view": float("inf")},
        {"look_at": (0.0, 0.0, float("nan"))},
        {"look_at": (0.0, 11.0, 0.0)},
    ],
)
def test_framings_refuse_what_no_camera_can_be(wrong: dict) -> None:
    with pytest.raises(OptionError):
        Framing(**wrong)


def ball_field() -> TriplaneField:
    """The ellipsoid, decided so sharply that a rendering's mask is its silhouette."""
    field = ellipsoid_field("xy_xz_yz")
    last = field.decoder.net[2]
    assert isinstance(last, FullyConnected)
    last.weight[0] *= 50
    last.bias[0] = 50 * (last.bias[0] - 10)  # its level of 10 becomes 0
    return field


def silhouette_half_height(framing: Framing) -> float:
    """Half the height, in picture heights, of the ellipsoid's silhouette as `around(0, 0, framing)` sees it."""
    distance, focal = framing.radius, around(0, 0, framing).intrinsics[1, 1]
    return focal * RADII[1] / np.sqrt(distance**2 - RADII[2] ** 2)  # the tangent from the camera's eye


@pytest.mark.parametrize(
    ("radius", "field_of_view"),
    [(RADIUS, None), (2.4, None), (3.2, None), (RADIUS, 14.0), (RADIUS, 40.0), (1.2, 50.0), (8.0, 8.0)],
)
def test_distance_and_field_of_view_make_the_head_as_large_as_geometry_says(
    radius: float, field_of_view: float | None
) -> None:
    framing = Framing(radius, field_of_view, tuple(CENTER.tolist()))
    mask = render_view(ball_field(), around(0, 0, framing), 64, rendering=BOX).mask
    rows = np.flatnonzero(mask.any(axis=1))
    expected = min(64.0, 2 * 64 * silhouette_half_height(framing))
    assert np.ptp(rows) + 1 == pytest.approx(expected, abs=2)
    assert rows.mean() == pytest.approx(31.5, abs=1)


@pytest.mark.parametrize("radius", [1.0, RADIUS, 8.0])
def test_fixed_distances_along_the_rays_move_with_the_camera(radius: float) -> None:
    """The official models' rays begin at 2.25 and end at 3.3: as far from the head as EG3D's cameras."""
    camera = around(0, 0, Framing(radius, 60 / radius, (0.0, 0.0, 0.0)))
    view = render_view(wall_field(), camera, 64, rendering=RenderingPreset())
    width = 2 * 64 * camera.intrinsics[0, 0] * 0.2 / (radius - 0.1)
    assert view.mask[32].sum() == pytest.approx(width, abs=2)
    np.testing.assert_allclose(view.depth[32, 30:34], radius - 0.1, atol=0.01)


def test_the_point_looked_at_is_in_the_middle_from_every_side() -> None:
    point = (0.1, -0.2, 0.05)
    for yaw, pitch in ((0, 0), (70, 20), (180, -45)):
        camera = around(yaw, pitch, Framing(radius=2.0, look_at=point))
        np.testing.assert_allclose(camera.project(np.array([point]))[0], [0.5, 0.5, 2.0], atol=1e-5)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (50, 20), (-120, -30)])
def test_normals_are_the_surfaces_own_in_the_cameras_frame(yaw: float, pitch: float) -> None:
    camera = around(yaw, pitch, Framing(look_at=tuple(CENTER.tolist())))
    view = render_view(ball_field(), camera, 64, rendering=BOX)
    assert view.mask.sum() > 400
    normals = view.normals[view.mask]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert (view.normals[~view.mask] == 0).all()

    # Through each pixel to the depth seen there, and the ellipsoid's gradient at that point.
    v, u = (np.argwhere(view.mask) + 0.5).T / 64
    focal, depth = camera.intrinsics[0, 0], view.depth[view.mask]
    local = np.stack([(u - 0.5) / focal, (v - 0.5) / focal, np.ones_like(u)], axis=1) * depth[:, None]
    world = local @ camera.pose[:3, :3].T + camera.position
    gradient = (world - CENTER) / RADII**2 @ camera.pose[:3, :3] * (1, -1, -1)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    cosine = (normals * gradient).sum(1)
    assert np.median(cosine) > 0.9999
    assert np.quantile(cosine, 0.02) > 0.98
    # None is turned away from the eye, and the middle one looks nearly into it.
    assert ((normals * local * (-1, 1, 1)).sum(1) > -1e-4).all()
    assert view.normals[32, 32, 2] > 0.8
    assert view.normals[:, 40:][view.mask[:, 40:]][:, 0].mean() > 0.2
    assert view.normals[:24][view.mask[:24]][:, 1].mean() > 0.2


def test_the_mask_is_where_more_than_half_is_covered() -> None:
    view = render_view(random_field(), around(10), 32)
    np.testing.assert_array_equal(view.mask, view.alpha > 0.5)
    np.testing.assert_array_equal(view.mask, view.depth > 0)
    assert view.mask.dtype == bool


def test_pictures_hold_what_their_descriptions_say() -> None:
    view = render_view(ball_field(), around(0, 0), 32, rendering=BOX)
    shown = {show: SHOWN[checked_show(show)](view) for show in SHOWN}
    assert {show: picture.mode for show, picture in shown.items()} == {
        "rgb": "RGB",
        "depth": "I;16",
        "normals": "RGB",
        "mask": "L",
    }
    assert {picture.size for picture in shown.values()} == {(32, 32)}
    np.testing.assert_allclose(np.asarray(shown["rgb"]) / 255, view.rgb, atol=0.51 / 255)
    np.testing.assert_allclose(np.asarray(shown["depth"]) / 10000, view.depth, atol=0.6e-4)
    np.testing.assert_array_equal(np.asarray(shown["mask"]), (view.alpha * 255).round())
    decoded = np.asarray(shown["normals"]) / 255 * 2 - 1
    np.testing.assert_allclose(decoded[view.mask], view.normals[view.mask], atol=1.1 / 255)
    assert (np.asarray(shown["normals"])[~view.mask] == 0).all()
    with pytest.raises(OptionError, match="rgb, depth, normals, mask"):
        checked_show("albedo")
    far = render_view(ball_field(), around(0, 0, Framing(radius=8, field_of_view=5)), 32, rendering=BOX)
    assert far.mask.any()
    with pytest.raises(OptionError, match=r"6\.5 units"):
        SHOWN["depth"](far)
