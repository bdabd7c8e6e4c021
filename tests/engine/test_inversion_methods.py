"""Every method makes a capture by one interface: the same every time, stopped when asked, within its time."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import disc_portrait, tiny_model, tiny_preset

from tpn_engine import Capture
from tpn_engine.checkpoints import Model
from tpn_engine.errors import CancelledError, ModelError, OptionError
from tpn_engine.inversion.fitting import FitState
from tpn_engine.inversion.invert import INVERTERS, invert
from tpn_engine.inversion.options import (
    METHODS,
    OPTIONS,
    LatentOptions,
    Method,
    PivotalTuningOptions,
    RefineFitOptions,
    make_options,
)
from tpn_engine.nets.presets import Preset
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.progress import Progress

SHORT: dict[Method, dict[str, Any]] = {
    "triplanenet": {},
    "psp": {},
    "latent": {"steps": 6, "resolution": 32, "rays": 256},
    "pivotal_tuning": {"pivot_steps": 4, "steps": 6, "resolution": 32, "rays": 256},
    "refine_fit": {"steps": 6, "resolution": 32, "rays": 256},
}
FITTED: tuple[Method, ...] = ("latent", "pivotal_tuning", "refine_fit")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("model"))


def made(model: Model, method: Method, **changes: Any) -> Capture:
    return invert(model, disc_portrait(), method=method, options=make_options(method, SHORT[method] | changes))


def source_psnr(capture: Capture, size: int = 32) -> float:
    """Of the source view against the crop on black, averaged down to `size`."""
    portrait = disc_portrait()
    truth = (portrait.crop * portrait.matte[..., None]).reshape(size, 512 // size, size, 512 // size, 3).mean((1, 3))
    seen = np.asarray(capture.render(size=size), np.float32) / 255
    return float(-10 * np.log10(np.mean((seen - truth) ** 2)))


def test_every_method_has_options_and_an_inverter() -> None:
    assert set(METHODS) == set(OPTIONS) == set(INVERTERS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_capture_that_is_kept(model: Model, method: Method, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    capture = made(model, method)
    assert capture.field.planes.isfinite().all()
    assert capture.codes.shape == (model.network.decoder.num_ws, model.preset.generator.w_dim)
    assert not capture.field.planes.requires_grad
    assert capture.provenance["method"] == method
    assert capture.provenance["options"] == asdict(make_options(method, SHORT[method]))
    assert set(capture.provenance.get("fits", {})) <= set(capture.provenance["seconds"])
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    capture.save(tmp_path / "disc.capture")
    loaded = Capture.load(tmp_path / "disc.capture")
    np.testing.assert_array_equal(np.asarray(loaded.render(size=32)), np.asarray(capture.render(size=32)))


@pytest.mark.parametrize("method", FITTED)
def test_a_seed_gives_the_same_head_again(model: Model, method: Method) -> None:
    first, second, other = made(model, method), made(model, method), made(model, method, seed=1)
    assert torch.equal(first.field.planes, second.field.planes)
    assert torch.equal(first.codes, second.codes)
    assert not torch.equal(first.field.planes, other.field.planes)


@pytest.mark.parametrize("method", FITTED)
def test_fits_tell_their_loss_and_stop_between_steps(model: Model, method: Method) -> None:
    states: list[FitState] = []
    progress = Progress(cancelled=lambda: len(states) >= 3)
    options = make_options(method, SHORT[method])
    with pytest.raises(CancelledError):
        invert(model, disc_portrait(), progress, method=method, options=options, watch=states.append)
    assert [state.step for state in states] == [1, 2, 3]
    assert all(np.isfinite(state.loss) for state in states)


@pytest.mark.parametrize("method", ["latent", "pivotal_tuning"])
def test_the_head_can_be_seen_while_it_is_fitted(model: Model, method: Method) -> None:
    def watched(*steps: int) -> tuple[list[np.ndarray], Capture]:
        pictures = []

        def watch(state: FitState) -> None:
            if state.step in steps:
                assert state.preview is not None
                pictures.append(np.asarray(state.preview(), np.float32) / 255)

        options = make_options(method, SHORT[method])
        return pictures, invert(model, disc_portrait(), method=method, options=options, watch=watch)

    pictures, capture = watched(2, SHORT[method]["steps"])
    assert [picture.shape for picture in pictures[-2:]] == [(64, 64, 3)] * 2
    assert np.abs(pictures[-1] - pictures[0]).max() > 0
    assert np.abs(pictures[-1] - np.asarray(capture.render(size=64), np.float32) / 255).max() < 0.02
    assert torch.equal(capture.field.planes, watched()[1].field.planes)  # looking changes nothing


@pytest.mark.parametrize("method", FITTED)
def test_fits_end_when_their_time_is_over(model: Model, method: Method) -> None:
    started = time.perf_counter()
    capture = made(model, method, steps=100_000, seconds=1.0)
    assert time.perf_counter() - started < 10
    assert any(fit["cut_short"] for fit in capture.provenance["fits"].values())


@pytest.mark.parametrize("method", FITTED)
def test_fits_lower_their_loss(model: Model, method: Method) -> None:
    longer = {"steps": 40, "rays": 400, "learning_rate": 0.1}
    if method == "pivotal_tuning":  # a random field has surfaces everywhere, too many to be kept as well
        longer |= {"learning_rate": 0.01, "keep_weight": 0.0}
    *_, fit = made(model, method, **longer).provenance["fits"].values()
    assert fit["steps"] == 40
    assert fit["last_loss"] < 0.98 * fit["first_loss"]


def test_refine_fit_shows_the_photo_better_than_the_refinement(model: Model) -> None:
    fitted = made(model, "refine_fit", steps=40, rays=400, learning_rate=0.1)
    assert source_psnr(fitted) > source_psnr(made(model, "triplanenet")) + 0.5


def test_pivotal_tuning_overfits_one_image(model: Model) -> None:
    options = PivotalTuningOptions(
        pivot_steps=20,
        steps=120,
        seconds=240,
        resolution=32,
        rays=1024,
        pivot_learning_rate=0.1,
        learning_rate=2e-2,
        map_learning_rate=5e-2,
        keep_weight=0.0,
        locality_weight=0.0,
    )
    capture = invert(model, disc_portrait(), method="pivotal_tuning", options=options)
    assert source_psnr(capture) >= 35


def tiny_presets() -> dict[str, Preset]:
    """One of each kind of refinement."""
    preset = tiny_preset()
    of_camera = replace(preset, matted=False, refiner=replace(preset.refiner, pictures="camera", passes=1, finer=1))
    first = replace(of_camera.refiner, version=1, pixel_shuffle=True)
    return {
        "front": preset,
        "behind": replace(preset, opaque=True, refiner=replace(preset.refiner, behind=True)),
        "camera": of_camera,
        "version 1": replace(of_camera, refiner=first),
    }


@pytest.mark.parametrize("kind", tiny_presets())
def test_pivotal_tuning_starts_from_the_refined_head(model: Model, kind: str) -> None:
    preset = tiny_presets()[kind]
    torch.manual_seed(0)
    other = replace(model, preset=preset, network=TriPlaneNet(preset).eval().requires_grad_(False))
    still = {"steps": 1, "pivot_learning_rate": 1e-9, "learning_rate": 1e-9, "map_learning_rate": 1e-9}
    refined = made(other, "triplanenet").field.planes
    torch.testing.assert_close(made(other, "pivotal_tuning", **still).field.planes, refined, rtol=1e-3, atol=1e-3)
    pivot = other.network.enlarged(made(other, "psp").field.planes[None])[0]
    assert (refined[:3] - pivot).abs().mean() > 5e-3  # or the refinement could be lost without a difference
    tuned = made(other, "pivotal_tuning", pivot_learning_rate=1e-9).field.planes
    assert (tuned[:3] - refined[:3]).abs().mean() > 1e-4
    torch.testing.assert_close(tuned[3:], refined[3:], rtol=1e-3, atol=1e-3)  # behind, no photo shows anything


def test_tuning_keeps_what_the_photo_does_not_show(model: Model) -> None:
    def change_behind(keep_weight: float) -> float:
        tuned = made(
            model, "pivotal_tuning", steps=40, map_learning_rate=5e-2, locality_weight=0.0, keep_weight=keep_weight
        )
        pictures = [np.asarray(head.render(yaw=150, size=32), np.float32) / 255 for head in (tuned, refined)]
        return float(np.mean((pictures[0] - pictures[1]) ** 2))

    refined = made(model, "triplanenet")
    assert change_behind(6.0) < 0.7 * change_behind(0.0)


def test_tuning_stays_near_the_old_generator_when_asked(model: Model) -> None:
    still = {"steps": 40, "learning_rate": 1e-2, "keep_weight": 0.0}
    free, held = (made(model, "pivotal_tuning", locality_weight=weight, **still) for weight in (0.0, 30.0))
    old = model.network.decoder.decoder.state_dict()
    change = [
        sum((value - old[name]).square().sum() for name, value in capture.field.decoder.state_dict().items())
        for capture in (free, held)
    ]
    assert change[1] < change[0]


def test_codes_start_where_they_are_told_and_w_is_one_code(model: Model) -> None:
    still = {"steps": 1, "learning_rate": 1e-9, "code_noise": 0.0}
    mean, encoder = (
        made(model, "latent", start="mean", **still).codes,
        made(model, "latent", start="encoder", **still).codes,
    )
    torch.testing.assert_close(mean, model.network.latent_avg.expand_as(mean))
    torch.testing.assert_close(encoder, made(model, "psp").codes)
    codes = made(model, "latent", space="w").codes
    assert torch.equal(codes, codes[:1].expand_as(codes))


def test_only_version_1_has_a_cascade(model: Model) -> None:
    with pytest.raises(ModelError, match="version 1"):
        made(model, "triplanenet", cascade=True)


def test_the_camera_of_a_fit_belongs_to_its_capture(model: Model) -> None:
    still, moving = (made(model, "refine_fit", camera_learning_rate=rate) for rate in (0.0, 1e-3))
    label = disc_portrait().camera.label
    np.testing.assert_array_equal(still.camera.label, label)
    assert 0 < np.abs(moving.camera.label - label).max() < 0.05
    turn = moving.camera.pose[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("magic", {}, "choose triplanenet"),
        ("latent", {"step": "3"}, "no option 'step'"),
        ("psp", {"steps": "3"}, "no options"),
        ("latent", {"steps": "3.5"}, "whole number"),
        ("latent", {"steps": "0"}, "steps >= 1"),
        ("latent", {"seconds": "soon"}, "a number"),
        ("latent", {"space": "z"}, "w, w\\+"),
        ("triplanenet", {"cascade": "maybe"}, "yes or no"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(method: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_options(method, settings)


def test_options_are_read_from_texts() -> None:
    assert make_options("latent", {"steps": "7", "space": "w", "learning_rate": "1e-2"}) == LatentOptions(
        steps=7, space="w", learning_rate=0.01
    )
    assert make_options("refine_fit", {"seconds": 5}) == RefineFitOptions(seconds=5.0)
