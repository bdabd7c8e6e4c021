"""The box that a field fills, and where its points lie on the planes."""

from __future__ import annotations

import torch
from surface_fields import random_field

from tpn_engine.nets.box import Box
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.volume import box_crossing

DEEP = Box(back=0.15)


def test_eg3ds_cube_is_scaled_evenly() -> None:
    points = torch.tensor([[0.5, -0.25, -0.5], [0.1, 0.2, 0.3]])
    torch.testing.assert_close(Box().on_planes(points), 2 * points)
    torch.testing.assert_close(Box(1.6).on_planes(points), points / 0.8)
    assert (Box(1.6).low, Box(1.6).high) == ((-0.8,) * 3, (0.8,) * 3)


def test_a_deeper_box_leaves_the_face_alone_and_presses_the_back_onto_the_planes() -> None:
    face = torch.tensor([[0.3, -0.2, 0.4], [-0.4, 0.1, -0.29]])
    torch.testing.assert_close(DEEP.on_planes(face), Box().on_planes(face))
    assert DEEP.low == (-0.5, -0.5, -0.65)
    corners = torch.tensor([DEEP.low, DEEP.high])
    torch.testing.assert_close(DEEP.on_planes(corners), torch.tensor([[-1.0] * 3, [1.0] * 3]))


def test_depths_and_places_on_the_planes_belong_together() -> None:
    z = torch.linspace(-0.65, 0.5, 47)
    places = DEEP.on_planes(torch.stack([0 * z, 0 * z, z], dim=-1))[:, 2]
    assert (places.diff() > 0).all()
    torch.testing.assert_close(DEEP.depth(places), z)


def test_rays_enter_and_leave_at_its_faces() -> None:
    origins = torch.tensor([[[2.0, 0.0, -0.6], [2.0, 0.0, -0.7], [0.1, 0.2, -3.0]]])
    directions = torch.tensor([[[-1.0, 1e-6, 1e-6], [-1.0, 1e-6, 1e-6], [1e-6, 1e-6, 1.0]]])
    enter, leave = (distance[0, :, 0] for distance in box_crossing(origins, directions, DEEP))
    assert (enter < leave).tolist() == [True, False, True]
    torch.testing.assert_close(enter[[0, 2]], torch.tensor([1.5, 2.35]))
    torch.testing.assert_close(leave[[0, 2]], torch.tensor([2.5, 3.5]))


def test_a_field_is_the_same_before_the_knee_and_reaches_farther_behind() -> None:
    cube = random_field("xy_xz_yz", seed=2)
    deep = TriplaneField(cube.planes, cube.decoder, cube.axes, DEEP)
    before = torch.rand(200, 3) * torch.tensor([1.0, 1.0, 0.8]) + torch.tensor([-0.5, -0.5, -0.3])
    torch.testing.assert_close(deep.density(before), cube.density(before))
    behind, pressed = torch.tensor([[0.1, 0.2, -0.64]]), torch.tensor([[0.1, 0.2, -0.3 - 0.34 * 0.2 / 0.35]])
    torch.testing.assert_close(deep.density(behind), cube.density(pressed))
