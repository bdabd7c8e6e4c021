"""Losses against what they are defined by, and the pixels and points that fits look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from skimage.data import astronaut
from skimage.metrics import structural_similarity
from tiny_model import disc_portrait, tiny_network

from tpn_engine.inversion.caster import Caster
from tpn_engine.inversion.eye import Eye, pixels_at, project
from tpn_engine.inversion.fitting import Clock, Observer, fit, ramp
from tpn_engine.inversion.losses import ms_ssim, noise_structure, smooth_l1, squared_error, total_variation
from tpn_engine.inversion.pixels import Target, random_grid, see
from tpn_engine.inversion.refine_fit import moved
from tpn_engine.inversion.subject import Subject
from tpn_engine.inversion.unseen import Unseen, sample
from tpn_engine.progress import SILENT
from tpn_engine.standard_face import EG3D_FACE

CPU = torch.device("cpu")


def picture(size: int) -> torch.Tensor:
    return torch.from_numpy(astronaut()[:size, 150 : 150 + size] / 255.0).permute(2, 0, 1)[None]


def test_one_scale_of_ms_ssim_is_ssim() -> None:
    first = picture(20)
    second = (first + 0.1 * torch.randn(first.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    full = structural_similarity(
        first[0].permute(1, 2, 0).numpy(), second[0].permute(1, 2, 0).numpy(), channel_axis=2, full=True, **settings
    )[1]
    assert ms_ssim(first, second).item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


def test_ms_ssim_is_one_for_equals_and_falls_with_noise() -> None:
    first = picture(192)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0), dtype=first.dtype)
    values = [ms_ssim(first, first + strength * noise).item() for strength in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1.0, abs=1e-6)
    assert values[0] > values[1] > values[2] > 0


def test_errors_are_weighted_means() -> None:
    seen, truth = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.0]])
    assert squared_error(seen, truth) == pytest.approx(0.625)
    assert squared_error(seen, truth, torch.tensor([[1.0, 0.0]])) == pytest.approx(0.25)
    assert squared_error(seen, truth, torch.zeros(1, 2)) == 0
    assert smooth_l1(seen, truth, torch.tensor([[0.0, 1.0]])) == pytest.approx(0.95)
    assert total_variation(torch.ones(3, 4, 4)) == 0


def test_noise_with_structure_is_told_from_noise() -> None:
    random = torch.Generator().manual_seed(0)
    white = torch.randn(64, 64, generator=random)
    smooth = torch.randn(16, 16, generator=random).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert noise_structure([white]) < 0.02 < noise_structure([smooth])


def test_the_learning_rate_rises_stays_and_falls() -> None:
    assert [ramp(progress) for progress in (0.0, 0.05, 0.5, 0.75, 1.0)] == pytest.approx([0, 1, 1, 1, 0])
    assert ramp(0.875) == pytest.approx(0.5)


def test_a_fit_that_is_late_comes_to_rest_too() -> None:
    values: list[float] = []
    value = torch.ones(1, requires_grad=True)

    class OneSecondAStep(Clock):
        @property
        def left(self) -> float:
            return 100.0 - len(values)

    def loss(progress: float) -> torch.Tensor:
        values.append(value.item())
        return value.square().sum()

    report = fit([([value], 1e-3)], loss, 10_000, OneSecondAStep(100.0), Observer(SILENT), "fitting")
    assert (report.steps, report.cut_short) == (100, True)
    moves = -np.diff(values)
    assert abs(moves[-1]) < 0.3 * abs(moves[50])


def test_a_grid_has_one_pixel_in_each_cell() -> None:
    random = torch.Generator().manual_seed(0)
    grid = random_grid(64, 100, random, (8, 4, 48, 44))
    rows, columns = grid.where.view(10, 10) // 64, grid.where.view(10, 10) % 64
    assert torch.equal((rows - 8) // 4, torch.arange(10)[:, None].expand(10, 10))
    assert torch.equal((columns - 4) // 4, torch.arange(10)[None].expand(10, 10))
    assert not torch.equal(grid.where, random_grid(64, 100, random, (8, 4, 48, 44)).where)
    whole = random_grid(16, 10_000, random)
    assert torch.equal(whole.where, torch.arange(256))
    pixels = torch.rand(1, 256, 3)
    torch.testing.assert_close(whole.as_picture(pixels)[0, :, 3, 5], pixels[0, 3 * 16 + 5])


def subject() -> Subject:
    portrait = disc_portrait()
    return Subject.of(portrait.crop, portrait.matte, portrait.camera.label, matted=True, device=CPU, face=EG3D_FACE)


def test_the_space_beside_the_person_is_carved() -> None:
    generator = tiny_network().decoder
    with torch.no_grad():
        planes = generator.planes(torch.randn(1, generator.num_ws, 32, generator=torch.Generator().manual_seed(0)))
    random = torch.Generator().manual_seed(0)
    caster = Caster.of(generator, planes, 0.7)
    unseen = Unseen.of(generator, planes, 0.7, caster, Eye.of(caster, subject()), random)
    assert len(unseen.beside) > 1000
    given = subject()
    assert given.matte is not None
    shown = pixels_at(given.matte, project(given.label, unseen.beside)[0])
    assert shown.max() < 0.05  # none of them is a point of the person
    filled = sample(generator, planes, unseen.beside)[0] > 0.7
    assert filled.any()  # there is something to carve
    changed = planes.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([changed], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        unseen.loss(changed, 1000, 0.0, 1.0, random).backward()
        optimizer.step()
    assert (sample(generator, changed, unseen.beside)[0] > 0.7).float().mean() < 0.5 * filled.float().mean()


def test_a_target_is_the_photo_averaged() -> None:
    given = subject()
    target = Target.of(given.photo, given.matte, 64)
    portrait = disc_portrait()
    truth = (portrait.crop * portrait.matte[..., None]).reshape(64, 8, 64, 8, 3).mean((1, 3))
    np.testing.assert_allclose(target.color[0].view(64, 64, 3).numpy(), truth, atol=1e-6)
    assert target.coverage is not None
    assert target.box(margin=0) == (9, 9, 55, 55)  # a disc of radius 0.35
    assert Target.of(given.photo, None, 64).box() is None


def test_the_camera_turns_about_the_origin_and_shifts() -> None:
    label = torch.from_numpy(disc_portrait().camera.label)[None]
    motion = torch.tensor([0.1, -0.2, 0.05, 0.01, 0.02, 0.03])
    pose, before = moved(label, motion)[0, :16].view(4, 4).numpy(), label[0, :16].view(4, 4).numpy()
    turn = Rotation.from_rotvec(motion[:3].numpy()).as_matrix()
    np.testing.assert_allclose(pose[:3, :3], turn @ before[:3, :3], atol=1e-5)
    np.testing.assert_allclose(pose[:3, 3], turn @ before[:3, 3] + motion[3:].numpy(), atol=1e-5)
    torch.testing.assert_close(moved(label, torch.zeros(6)), label)


def test_pixels_are_those_of_the_generators_picture() -> None:
    generator = tiny_network().decoder
    planes = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    label = torch.from_numpy(disc_portrait().camera.label)[None]
    whole = generator.render_raw(planes, label, 16)
    where = torch.tensor([0, 17, 200])
    seen = see(planes, generator.decoder, generator.preset, label, 16, where)
    torch.testing.assert_close(seen.color[0].T * 2 - 1, whole.image.flatten(2)[0][:, where])


def test_what_is_unseen_holds_a_fit_where_it_is_and_no_farther() -> None:
    generator = tiny_network().decoder
    with torch.no_grad():
        planes = generator.planes(torch.randn(1, generator.num_ws, 32, generator=torch.Generator().manual_seed(0)))
    random = torch.Generator().manual_seed(0)
    caster = Caster.of(generator, planes, 0.7)
    unseen = Unseen.of(generator, planes, 0.7, caster, Eye.of(caster, replace(subject(), matte=None)), random)
    unseen = replace(unseen, color=sample(generator, planes, unseen.surface)[1])  # without the mirrored photo's
    assert len(unseen.beside) == 0
    assert unseen.loss(planes, 500, 1.0, 1.0, random).item() == pytest.approx(0.0, abs=1e-10)
    changed = (planes + 0.5).requires_grad_(True)
    loss = unseen.loss(changed, 500, 1.0, 0.0, random)
    loss.backward()
    assert loss > 0
    assert changed.grad is not None
    assert changed.grad.isfinite().all()
