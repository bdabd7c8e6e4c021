"""Features of the front arrive where their surface points lie on each plane."""

from __future__ import annotations

import pytest
import torch

from tpn_engine.nets.box import Box
from tpn_engine.nets.field import sample_planes
from tpn_engine.nets.lifting import lift
from tpn_engine.nets.presets import PlaneAxes

SIZE, BOX = 16, Box()


def front(depth: torch.Tensor) -> torch.Tensor:
    """Surface points [1, S, S, 3] at depths [S, S] over the grid of the XY plane."""
    centres = (torch.arange(SIZE) + 0.5) * (BOX.warp / SIZE) - BOX.warp / 2
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y, depth], dim=-1)[None]


@pytest.mark.parametrize("axes", ["xy_xz_yz", "xy_xz_zx"])
@pytest.mark.parametrize(("box", "depth"), [(BOX, 0.17), (Box(back=0.15), 0.17), (Box(back=0.15), -0.53)])
def test_a_single_point_is_found_where_the_planes_are_sampled(axes: PlaneAxes, box: Box, depth: float) -> None:
    points = front(torch.full((SIZE, SIZE), depth))
    hit = torch.zeros(1, 1, SIZE, SIZE)
    hit[0, 0, 3, 11] = 1
    features = torch.full((1, 1, SIZE, SIZE), 5.0)
    lifted = lift(features, points, hit, axes, box)
    for number, plane in enumerate(lifted[1:], start=1):
        alone = torch.zeros(1, 3, 2, SIZE, SIZE)
        alone[:, number] = plane
        there = sample_planes(alone, points[:, 3, 11][:, None], axes, box)
        assert there[0, 0, 0] == pytest.approx(5 / 3, rel=1e-5)
        covered = plane[0, 1] > 0
        assert 1 <= covered.sum() <= 4
        elsewhere = -points[:, 3, 11][:, None]
        assert sample_planes(alone, elsewhere, axes, box).abs().max() == 0


def test_points_that_share_a_texel_are_averaged_and_counted() -> None:
    points = front(torch.full((SIZE, SIZE), (8.5 / SIZE - 0.5) * BOX.warp))  # in the middle of the ninth texel along z
    features = torch.arange(SIZE).float().expand(1, 1, SIZE, SIZE)  # a column's number
    _, xz, yz = lift(features, points, torch.ones(1, 1, SIZE, SIZE), "xy_xz_yz", BOX)
    torch.testing.assert_close(xz[0, 0, 8], torch.arange(SIZE).float())
    torch.testing.assert_close(yz[0, 0, :, 8], torch.full((SIZE,), (SIZE - 1) / 2))
    torch.testing.assert_close(yz[0, 1, :, 8], torch.full((SIZE,), SIZE / (SIZE + 1)))
    assert xz[0, :, :8].abs().max() == 0


def test_gradients_reach_the_features_and_only_where_there_is_a_surface() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 4, SIZE, SIZE, requires_grad=True)
    points = front(torch.rand(SIZE, SIZE) - 0.5).expand(2, -1, -1, -1)
    hit = (torch.rand(2, 1, SIZE, SIZE) > 0.5).float()
    lifted = lift(features, points, hit, "xy_xz_yz", BOX)
    torch.stack([plane[:, :-1].square().sum() for plane in lifted[1:]]).sum().backward()
    assert features.grad is not None
    reached = features.grad.abs().sum(1, keepdim=True) > 0
    assert torch.equal(reached, hit > 0)
