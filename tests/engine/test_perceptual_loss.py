"""LPIPS and identity: the published formulas, what fits make of them, and their columns in a comparison."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import loss_files
import pytest
import torch
from ball_heads import write_heads
from scipy import ndimage
from tiny_model import disc_portrait, tiny_model
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.checkpoints import Model, add_model
from tpn_engine.checkpoints.perceptual import load_identity, load_lpips
from tpn_engine.inversion.fitting import Observer
from tpn_engine.inversion.identity import aligned_face, identity_similarity
from tpn_engine.inversion.invert import INVERTERS, invert
from tpn_engine.inversion.options import LatentOptions, Method, make_options
from tpn_engine.inversion.perceptual_loss import PerceptualLoss
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.lpips import Lpips
from tpn_engine.portrait.landmarks import LEFT_EYE, RIGHT_EYE
from tpn_engine.portrait.pose import world_landmarks
from tpn_engine.progress import SILENT
from tpn_engine.standard_face import EG3D_FACE
from tpn_engine.training.evaluate import evaluate, held_out_heads

CPU = torch.device("cpu")
PORTRAIT = disc_portrait()
SUBJECT = Subject.of(PORTRAIT.crop, PORTRAIT.matte, PORTRAIT.camera.label, matted=True, device=CPU, face=EG3D_FACE)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A models folder with the weights of both losses."""
    folder, files = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPN_MODELS", str(folder))
        add_model(loss_files.save_loss_files(files))
    yield folder
    for used in (folder, files):  # ArcFace's network is large
        shutil.rmtree(used)


@pytest.fixture
def present(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPN_MODELS", str(models))


@pytest.fixture
def absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPN_MODELS", str(tmp_path))


@pytest.fixture(scope="module")
def lpips(models: Path) -> Lpips:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPN_MODELS", str(models))
        network = load_lpips(CPU)
    assert network is not None
    return network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("model"))


def blurred(picture: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(picture.numpy(), (0, 0, sigma, sigma)))


def noise(seed: int, size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ---- the distance --------------------------------------------------------------------------------


def distance_by_hand(one: Tensor, other: Tensor) -> Tensor:
    """Zhang et al. 2018, equation 1, from the files' own tensors."""
    alexnet, linear = loss_files.alexnet_state(), list(loss_files.linear_state().values())
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    maps = [(picture - shift.view(3, 1, 1)) / scale.view(3, 1, 1) for picture in (one, other)]
    total = torch.zeros(len(one))
    layers = [(0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False)]
    for weights, (index, stride, padding, pooled) in zip(linear, layers, strict=True):
        kernel, bias = alexnet[f"features.{index}.weight"], alexnet[f"features.{index}.bias"]
        if pooled:
            maps = [F.max_pool2d(x, 3, 2) for x in maps]
        maps = [F.conv2d(x, kernel, bias, stride, padding).relu() for x in maps]
        units = [x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in maps]
        total += torch.einsum("bchw,c->b", (units[0] - units[1]) ** 2, weights.flatten()) / maps[0][0, 0].numel()
    return total


@pytest.mark.parametrize("size", [64, 113])
def test_the_distance_is_that_of_the_paper(lpips: Lpips, size: int) -> None:
    one, other = noise(0, size), blurred(noise(1, size), 1.0)
    assert lpips(one, other).tolist() == pytest.approx(distance_by_hand(one, other).tolist(), abs=1e-5)


def test_the_distance_behaves_as_one(lpips: Lpips) -> None:
    photo = F.avg_pool2d(SUBJECT.photo, 4)
    assert lpips(photo, photo).item() == 0
    distances = [lpips(photo, blurred(photo, sigma)).item() for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert 0 < distances[0] < distances[1] < distances[2] < distances[3]
    assert lpips(blurred(photo, 2.0), photo).item() == pytest.approx(distances[2])
    small = F.avg_pool2d(SUBJECT.photo, 16)
    assert lpips(small, blurred(small, 1.0)).item() > 0  # AlexNet alone would have nothing left of it
    black = torch.full((1, 3, 64, 64), -1.0, requires_grad=True)
    lpips(black, noise(0, 64)[:1]).backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


def test_faces_are_cut_out_where_the_camera_expects_them(present: None) -> None:
    camera, network = PORTRAIT.camera, load_identity(CPU)
    assert network is not None
    label = torch.from_numpy(camera.label)[None]
    eyes = camera.project(world_landmarks(EG3D_FACE))[[RIGHT_EYE, LEFT_EYE], :2].mean(0)
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    where = torch.stack([columns, rows, rows])[None].float() / 256
    face = aligned_face(where, label, EG3D_FACE)
    assert face.shape == (1, 3, 112, 112)
    across, down = (int((face[0, axis] - eyes[axis]).abs().mean(axis).argmin()) for axis in (0, 1))
    assert abs(across - 56) < 10
    assert 30 < down < 60  # ArcFace's faces have them at 52
    photo = SUBJECT.photo
    assert identity_similarity(network, photo, photo, label, EG3D_FACE) == pytest.approx(1, abs=1e-4)
    assert identity_similarity(network, photo, -photo, label, EG3D_FACE) < 0.999


# ---- fits ----------------------------------------------------------------------------------------


def fitted_distance(model: Model, **weights: float) -> float:
    """LPIPS between the photo and the head of a short fit of codes."""
    short = {"steps": 15, "resolution": 32, "rays": 64, "learning_rate": 0.2, "code_noise": 0.0}
    made = INVERTERS["latent"](model, SUBJECT, make_options("latent", short | weights), Observer(SILENT))
    loss = PerceptualLoss.of(SUBJECT, LatentOptions(lpips_weight=1.0, identity_weight=0.0))
    assert loss is not None
    with torch.no_grad():
        return float(loss(model.network.decoder, made.planes[None], SUBJECT.label))


def test_a_fit_with_lpips_looks_more_like_the_photo(present: None, model: Model) -> None:
    distances = [fitted_distance(model, lpips_weight=weight, identity_weight=0.0) for weight in (0.0, 0.8)]
    assert distances[1] < 0.98 * distances[0]


@pytest.mark.parametrize("method", ["latent", "pivotal_tuning"])
def test_captures_say_which_losses_made_them(present: None, model: Model, method: Method) -> None:
    def made(**weights: float) -> dict[str, dict]:
        short = {"steps": 1, "resolution": 32, "rays": 64} | ({"pivot_steps": 1} if method == "pivotal_tuning" else {})
        return invert(model, PORTRAIT, method=method, options=make_options(method, short | weights)).provenance

    both, neither = made(), made(lpips_weight=0, identity_weight=0)
    assert list(both["losses"]) == ["lpips", "identity"]
    assert both["losses"]["lpips"].startswith(f"{loss_files.ALEXNET} (SHA-256 ")
    assert "losses" not in neither
    for stage, fit in both["fits"].items():
        assert fit["first_loss"] > neither["fits"][stage]["first_loss"]


def test_a_weight_of_zero_leaves_a_loss_out(present: None) -> None:
    for left_out, other in (("lpips", "identity"), ("identity", "lpips")):
        loss = PerceptualLoss.of(SUBJECT, replace(LatentOptions(), **{f"{left_out}_weight": 0.0}))
        assert loss is not None
        assert list(loss.used) == [other]


def test_without_weights_there_are_no_losses(absent: None, model: Model) -> None:
    assert PerceptualLoss.of(SUBJECT, LatentOptions()) is None
    options = make_options("latent", {"steps": 1, "resolution": 32, "rays": 64})
    assert "losses" not in invert(model, PORTRAIT, method="latent", options=options).provenance


# ---- measures ------------------------------------------------------------------------------------


def test_comparisons_have_columns_for_what_is_present(present: None, model: Model, tmp_path: Path) -> None:
    report = evaluate(model, held_out_heads(write_heads(tmp_path, 1), 1), ("psp",))
    groups = report.measures["psp"]
    assert all(means["lpips"] > 0 for means in groups.values())
    assert [name for name, means in groups.items() if "identity" in means] == ["source"]
    assert -1 <= groups["source"]["identity"] <= 1
    assert " | LPIPS | identity similarity | seconds a head |" in report.markdown()
    assert f" | {groups['source']['lpips']:.3f} | {groups['source']['identity']:.3f} | " in report.markdown()


def test_comparisons_have_no_columns_for_what_is_absent(absent: None, model: Model, tmp_path: Path) -> None:
    report = evaluate(model, held_out_heads(write_heads(tmp_path, 1), 1), ("psp",))
    assert "lpips" not in report.measures["psp"]["source"]
    assert "LPIPS" not in report.markdown()
    assert "identity" not in report.markdown()
