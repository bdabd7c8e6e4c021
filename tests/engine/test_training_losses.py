"""What the refinement must not draw where no photo of a face looks."""

from __future__ import annotations

import torch
from tiny_model import tiny_network

from tpn_engine.training.losses import imprint


def test_a_pattern_behind_the_head_is_an_imprint_and_a_new_tone_is_not() -> None:
    generator = tiny_network().decoder
    random = torch.Generator().manual_seed(0)
    before = torch.randn(1, 3, 8, 4, 4, generator=random)
    before = torch.nn.functional.interpolate(before.flatten(0, 1), size=(32, 32), mode="bilinear").unflatten(0, (1, 3))
    points = torch.rand(1, 4000, 3, generator=random) * 0.8 - 0.4
    with torch.no_grad():
        assert imprint(generator, before, before, points, -0.1) == 0
        toned = before + torch.randn(1, 1, 8, 1, 1, generator=random) * 0.5
        drawn = before + torch.randn(1, 1, 8, 32, 32, generator=random) * 0.5
        assert imprint(generator, before, drawn, points, -0.1) > 4 * imprint(generator, before, toned, points, -0.1)
        front = points * torch.tensor([1.0, 1.0, -1.0])
        assert imprint(generator, before, drawn, front[front[..., 2] > 0][None], -0.1) == 0


def test_the_imprint_is_the_refinements_to_mend() -> None:
    generator = tiny_network().decoder
    before = torch.randn(1, 3, 8, 32, 32).requires_grad_()
    after = torch.randn(1, 3, 8, 32, 32).requires_grad_()
    imprint(generator, before, after, torch.rand(1, 500, 3) - 0.5, 0.0).backward()
    assert before.grad is None
    assert after.grad is not None
    assert after.grad.abs().sum() > 0
