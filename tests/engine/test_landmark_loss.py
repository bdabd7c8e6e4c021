"""The landmark loss knows how far a face has moved, and fits can follow it."""

from __future__ import annotations

import pytest
import torch
from portrait_photos import astronaut
from tiny_model import disc_portrait, tiny_model

from tpn_engine.checkpoints import Model
from tpn_engine.errors import OptionError
from tpn_engine.inversion.invert import invert
from tpn_engine.inversion.landmark_loss import LandmarkLoss
from tpn_engine.inversion.options import Method, make_options
from tpn_engine.inversion.pixels import Target
from tpn_engine.inversion.subject import Subject
from tpn_engine.portrait import Portrait, PortraitReader
from tpn_engine.standard_face import EG3D_FACE

CPU = torch.device("cpu")
FITS: tuple[Method, ...] = ("latent", "pivotal_tuning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return PortraitReader().read(astronaut())


def subject_of(portrait: Portrait) -> Subject:
    return Subject.of(portrait.crop, portrait.matte, portrait.camera.label, matted=True, device=CPU, face=EG3D_FACE)


@pytest.fixture(scope="module")
def loss(portrait: Portrait) -> LandmarkLoss:
    return LandmarkLoss.of(subject_of(portrait))


def shifted(portrait: Portrait, loss: LandmarkLoss, right: int, down: int = 0) -> torch.Tensor:
    """The photo moved by pixels of the crop, as small as the loss wants it."""
    photo = subject_of(portrait).photo.roll((down, right), dims=(2, 3))
    color = Target.of(photo, None, loss.resolution).color
    return color.transpose(1, 2).unflatten(2, (loss.resolution, loss.resolution))


def test_the_loss_is_the_square_of_the_shift(portrait: Portrait, loss: LandmarkLoss) -> None:
    eyes = loss.eyes / loss.resolution * 512
    assert 150 < eyes < 260  # of a face in an aligned crop
    for right, down in ((40, 0), (-40, 0), (0, 30)):
        values = [loss.between(shifted(portrait, loss, right // part, down // part)).item() for part in (1, 2, 5)]
        assert values[0] == pytest.approx((right**2 + down**2) / eyes**2, rel=0.4)
        assert values[0] > 2 * values[1] > 4 * values[2] > 0
    assert loss.between(shifted(portrait, loss, 0)).item() < 1e-6


def test_a_step_down_the_gradient_lowers_the_loss(portrait: Portrait, loss: LandmarkLoss) -> None:
    picture = shifted(portrait, loss, 12).requires_grad_(True)
    before = loss.between(picture)
    (slope,) = torch.autograd.grad(before, picture)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0
    step = 0.2 * before.detach() / slope.square().sum()
    assert loss.between(picture.detach() - step * slope) < before


def test_renders_have_finite_gradients(model: Model, portrait: Portrait, loss: LandmarkLoss) -> None:
    generator = model.network.decoder
    planes = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    value = loss(generator, planes, torch.from_numpy(portrait.camera.label)[None])
    assert value.isfinite()
    value.backward()
    assert planes.grad is not None
    assert planes.grad.isfinite().all()
    assert planes.grad.abs().max() > 0


@pytest.mark.parametrize("method", FITS)
def test_fits_follow_the_landmarks_if_asked(model: Model, portrait: Portrait, method: Method) -> None:
    def made(weight: float) -> dict[str, dict[str, float]]:
        short = {"steps": 3, "resolution": 32, "rays": 64} | ({"pivot_steps": 2} if method == "pivotal_tuning" else {})
        options = make_options(method, short | {"landmark_weight": weight})
        return invert(model, portrait, method=method, options=options).provenance["fits"]

    without, with_landmarks = made(0.0), made(20.0)  # so much that other codes don't outweigh it
    for stage in without:
        assert with_landmarks[stage]["first_loss"] > without[stage]["first_loss"]


def test_a_photo_without_a_face_has_no_landmarks(model: Model) -> None:
    options = make_options("latent", {"steps": 2, "landmark_weight": 1.0})
    with pytest.raises(OptionError, match="leave landmark_weight at 0"):
        invert(model, disc_portrait(), method="latent", options=options)
