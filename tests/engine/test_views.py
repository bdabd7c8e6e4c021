"""Views equal the generator's own rendering; turntables loop exactly and read back as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tiny_model import tiny_network, tiny_preset

from tpn_engine.camera import RADIUS, Camera
from tpn_engine.errors import CancelledError, FileError, OptionError
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.progress import Progress
from tpn_engine.views import render_view
from tpn_engine.views.cameras import HEAD_CENTER, around, orbit, ring
from tpn_engine.views.video import write_video


def random_field() -> TriplaneField:
    """Smooth random planes: where the densest parts are, rays are stopped."""
    decoder = tiny_network().decoder.decoder
    coarse = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(1)) * 6
    planes = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")
    return TriplaneField(planes, decoder, "xy_xz_yz", 1.0)


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
    return TriplaneField(planes, field.decoder, "xy_xz_yz", 1.0)


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
    assert first.image().size == (32, 32)
    assert heard[-1] == ("view", 1.0)


def test_views_can_be_cancelled_and_refuse_absurd_sizes() -> None:
    with pytest.raises(CancelledError):
        render_view(random_field(), around(0), 32, progress=Progress(cancelled=lambda: True))
    for size in (0, 8, 100000):
        with pytest.raises(OptionError):
            render_view(random_field(), around(0), size)


def test_the_loop_is_exact() -> None:
    for frames in (1, 7, 48, 120):
        np.testing.assert_array_equal(orbit(frames, frames).label, orbit(0, frames).label)
        np.testing.assert_array_equal(orbit(frames + 3, frames, 10).label, orbit(3, frames, 10).label)
    np.testing.assert_array_equal(orbit(0, 48).label, around(0).label)
    np.testing.assert_allclose(orbit(12, 48).label, around(90).label, atol=1e-6)


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


def test_cameras_refuse_angles_that_have_no_up() -> None:
    for yaw, pitch in ((0, 90), (0, -95), (float("nan"), 0), (0, float("nan"))):
        with pytest.raises(OptionError):
            around(yaw, pitch)
    with pytest.raises(OptionError):
        ring(4, pitch=90)
    with pytest.raises(OptionError):
        orbit(0, 0)


def shades(count: int, size: int = 64) -> Iterator[np.ndarray]:
    for index in range(count):
        frame = np.zeros((size, size + 32, 3), np.float32)
        frame[:] = (0.8, index / count, 0.2)
        yield frame


def test_videos_read_back_with_every_frame_their_size_and_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "turn.mp4"
    write_video(path, shades(10), fps=25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 96, 64)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 10
    for frame, expected in zip(frames, shades(10), strict=True):
        assert np.abs(frame / 255 - expected).max() < 0.02
    assert [file.name for file in tmp_path.iterdir()] == ["turn.mp4"]


def test_a_video_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "turn.mp4"
    path.write_bytes(b"old")

    def interrupted() -> Iterator[np.ndarray]:
        yield from shades(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, interrupted())
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["turn.mp4"]


def test_videos_refuse_what_they_can_not_be(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="even"):
        write_video(tmp_path / "turn.mp4", shades(2, 63))
    with pytest.raises(OptionError, match=r"\.mp4"):
        write_video(tmp_path / "turn.gif", shades(2))
    with pytest.raises(FileError, match="no folder"):
        write_video(tmp_path / "nowhere" / "turn.mp4", shades(2))
    assert not list(tmp_path.iterdir())
