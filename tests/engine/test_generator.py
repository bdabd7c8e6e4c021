"""What must hold for any generator: batches, chunks, gradients, randomness, the field's interface."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.nets.box import Box
from tpn_engine.nets.discriminator import DualDiscriminator
from tpn_engine.nets.field import BACK_BEGINS, FRONT_ENDS, GridSampler, RowSampler, front_share, sample_planes
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.presets import (
    DiscriminatorPreset,
    GeneratorPreset,
    PlaneAxes,
    RenderingPreset,
    SuperResolutionPreset,
)
from tpn_engine.nets.volume import box_crossing, rays, render_rays

SMALL = GeneratorPreset(
    z_dim=16,
    w_dim=32,
    channel_base=512,
    channel_max=16,
    plane_resolution=32,
    plane_channels=8,
    plane_axes="xy_xz_yz",
    decoder_hidden=16,
    render_resolution=16,
    rendering=RenderingPreset(depth_samples=8, importance_samples=8),
    super_resolution=None,
    image_resolution=16,
)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(SMALL)


@pytest.fixture
def label() -> Tensor:
    cameras = [Camera.orbit(yaw, pitch) for yaw, pitch in ((-30, 0), (10, 15))]
    return torch.stack([torch.from_numpy(camera.label) for camera in cameras])


@pytest.fixture
def ws(generator: Generator, label: Tensor) -> Tensor:
    return generator.mapping(torch.randn(2, 16), label)


def test_a_batch_equals_its_samples(generator: Generator, ws: Tensor, label: Tensor):
    with torch.no_grad():
        planes = generator.planes(ws)
        view = generator.render(planes, ws, label)
        for i in range(2):
            alone = generator.planes(ws[i : i + 1])
            torch.testing.assert_close(alone[0], planes[i], rtol=1e-4, atol=1e-5)
            single = generator.render(planes[i : i + 1], ws[i : i + 1], label[i : i + 1])
            torch.testing.assert_close(single.image[0], view.image[i], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(single.weights[0], view.weights[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", ["xy_xz_zx", "xy_xz_yz"])
@pytest.mark.parametrize("count", [3, 4])
def test_both_samplers_agree(axes: PlaneAxes, count: int):
    torch.manual_seed(1)
    planes = torch.randn(2, count, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    points = (torch.randn(2, 300, 3, dtype=torch.float64) * 0.7).requires_grad_()
    share = front_share(points[..., 2]).detach() if count == 4 else None
    results = []
    for sampler in (GridSampler, RowSampler):
        features = sampler(planes, axes)(points, share)
        gradients = torch.autograd.grad((features * features.detach().cos()).sum(), (planes, points))
        results.append((features, *gradients))
    for grid, row in zip(*results, strict=True):
        torch.testing.assert_close(grid, row)


def test_a_fourth_plane_takes_over_from_the_first_behind():
    torch.manual_seed(1)
    planes = torch.randn(1, 4, 4, 16, 16)
    points = torch.rand(1, 300, 3) - 0.5
    sampled = sample_planes(planes, points, "xy_xz_yz", Box())
    in_front, behind = points[0, :, 2] > BACK_BEGINS, points[0, :, 2] < FRONT_ENDS
    for part, shown in ((in_front, [0, 1, 2]), (behind, [3, 1, 2])):
        torch.testing.assert_close(
            sampled[:, part], sample_planes(planes[:, shown], points[:, part], "xy_xz_yz", Box()), rtol=1e-5, atol=1e-6
        )
    middle = torch.tensor([[[0.1, 0.2, (BACK_BEGINS + FRONT_ENDS) / 2]]])
    both = [sample_planes(planes[:, shown], middle, "xy_xz_yz", Box()) for shown in ([0, 1, 2], [3, 1, 2])]
    torch.testing.assert_close(sample_planes(planes, middle, "xy_xz_yz", Box()), (both[0] + both[1]) / 2)


def test_chunks_do_not_show(generator: Generator, ws: Tensor, label: Tensor):
    """5000 rays are several chunks; each ray alone must come out the same."""
    with torch.no_grad():
        planes = generator.planes(ws[:1])
        origins, directions = rays(label[:1], 72)

        def depth_and_features(start: int, end: int) -> Tensor:
            result = render_rays(
                planes,
                generator.decoder,
                SMALL.plane_axes,
                SMALL.box,
                origins[:, start:end],
                directions[:, start:end],
                SMALL.rendering,
            )
            return torch.cat([result.features, result.weights], dim=2)

        whole = depth_and_features(0, 72 * 72)
        torch.testing.assert_close(whole[:, 2040:2060], depth_and_features(2040, 2060), rtol=1e-4, atol=1e-5)


def test_rays_past_the_box_are_empty_where_the_preset_says_so(generator: Generator, ws: Tensor, label: Tensor):
    """Planes reach beyond the box along their normals: what is sampled out there would be a ghost."""
    wide = label[:1].clone()
    wide[:, [16, 20]] *= 0.4  # focal lengths: the box fills a part of the picture
    sampled = replace(SMALL.rendering, box_limits=True)
    with torch.no_grad():
        planes = generator.planes(ws[:1])
        ghosts = generator.render_raw(planes, wide, 48, rendering=sampled)
        clean = generator.render_raw(planes, wide, 48, rendering=replace(sampled, missed="empty"))
        white = generator.render_raw(
            planes, wide, 48, rendering=replace(sampled, missed="empty", white_background=True)
        )
        enter, leave = box_crossing(*rays(wide, 48), SMALL.box)
    hit = (enter < leave).view(1, 1, 48, 48)
    assert 0.1 < hit.float().mean() < 0.9
    assert ghosts.weights[~hit].max() > 0.1
    assert (clean.weights[~hit] == 0).all()
    assert (clean.image.transpose(0, 1)[:, ~hit[0]] == -1).all()
    assert (white.image.transpose(0, 1)[:, ~hit[0]] == 1).all()
    torch.testing.assert_close(clean.weights[hit], ghosts.weights[hit], rtol=0, atol=0)


def test_gradients_reach_everything_and_are_finite(generator: Generator, ws: Tensor, label: Tensor):
    planes = generator.planes(ws)
    last = generator.decoder.net[2]
    assert isinstance(last, FullyConnected)
    with torch.no_grad():
        last.bias[0] = -200.0  # nothing to be seen: depth is 0/0
    empty = generator.render(planes, ws, label)
    (empty.depth.mean() + empty.image.mean()).backward(retain_graph=True)
    assert all(p.grad is None or p.grad.isfinite().all() for p in generator.parameters())
    with torch.no_grad():
        last.bias[0] = 0.0
    generator.zero_grad()
    view = generator.render(planes, ws, label, generator=torch.Generator().manual_seed(0))
    (view.depth.mean() + view.image.square().mean()).backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_superresolution_and_discriminator_have_gradients(label: Tensor):
    torch.manual_seed(2)
    preset = replace(SMALL, super_resolution=SuperResolutionPreset("2x", input_resolution=16), image_resolution=32)
    generator = Generator(preset)
    ws = generator.mapping(torch.randn(2, 16), label)
    view = generator.render(generator.planes(ws), ws, label)
    assert view.image.shape == (2, 3, 32, 32)
    judge = DualDiscriminator(
        DiscriminatorPreset(resolution=32, image_channels=6, label_dim=25, channel_max=16, group_size=2)
    )
    judge(view.image, view.raw, label).sum().backward()
    for module in (generator, judge):
        for name, parameter in module.named_parameters():
            if not name.endswith("noise_strength") or "superresolution" not in name:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name


def test_random_sampling_follows_its_generator(generator: Generator, ws: Tensor, label: Tensor):
    with torch.no_grad():
        planes = generator.planes(ws)
        first, again, other = (
            generator.render_raw(planes, label, generator=torch.Generator().manual_seed(seed)).image
            for seed in (0, 0, 1)
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_field(generator: Generator, ws: Tensor):
    with torch.no_grad():
        field = generator.field(generator.planes(ws)[0])
        points = torch.rand(50, 3) - 0.5
        density, features = field.sample(points)
        assert density.shape == (50, 1)
        assert features.shape == (50, SMALL.plane_channels)
        assert torch.equal(field.density(points), density[:, 0])
        assert torch.equal(field.colors(points), features[:, :3].clamp(0, 1))
        outside = torch.full((1, 3), 2.0)
        assert torch.equal(field.density(outside), generator.decoder(torch.zeros(1, 8))[0][:, 0])
        assert field.density(torch.zeros(0, 3)).shape == (0,)
