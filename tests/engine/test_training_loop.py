"""All phases learn a ball, go on where they stopped, and are measured."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_heads import write_heads
from test_training_data import stage_config
from tiny_model import tiny_network, tiny_preset

from tpn_engine.checkpoints import load_model, save_model
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.config import StageConfig, StageName, TrainingConfig
from tpn_engine.training.data import head_files
from tpn_engine.training.evaluate import evaluate
from tpn_engine.training.stages import initialise, scale_planes, stretch_density, unstretch_density
from tpn_engine.training.store import HeadStore
from tpn_engine.training.trainer import LOG_EVERY, learning_rate_factor, train_stage


def configuration(steps: int) -> TrainingConfig:
    stage = stage_config(steps=steps, batch=2, learning_rate=2e-3, generator_learning_rate=4e-3, color_points=600)
    stages: dict[StageName, StageConfig] = {"pivot": stage, "refinement": stage, "detail": stage}
    return TrainingConfig("tiny", 3, 4, 0.0, 200.0, stages)


def run(network: TriPlaneNet, stage: StageName, steps: int, data: Path, folder: Path) -> list[dict]:
    folder.mkdir(exist_ok=True)
    store = HeadStore(data, 4, torch.device("cpu"))
    return list(train_stage(network, stage, tiny_preset(), configuration(steps), store, folder, None))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("heads"), 8)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TriPlaneNet, dict[str, list[dict]]]:
    network = tiny_network()
    initialise(network)
    folder = tmp_path_factory.mktemp("run")
    logs = {"pivot": run(network, "pivot", 100, data, folder)}
    logs["refinement"] = run(network, "refinement", 40, data, folder)
    logs["detail"] = run(network, "detail", 40, data, folder)
    return network, logs


def test_each_phase_learns(trained: tuple[TriPlaneNet, dict[str, list[dict]]]) -> None:
    _, logs = trained
    pivot, refinement, detail = logs["pivot"], logs["refinement"], logs["detail"]
    assert len(pivot) == 100 // LOG_EVERY
    assert pivot[-1]["wrong"] < 0.7 * pivot[0]["wrong"]
    assert pivot[-1]["color"] < 0.7 * pivot[0]["color"]
    assert refinement[-1]["color"] < pivot[-1]["color"]
    assert detail[-1]["color"] < refinement[-1]["color"]


def test_stretching_keeps_the_surface_where_it_was_shifted_to(
    trained: tuple[TriPlaneNet, dict[str, list[dict]]],
) -> None:
    network = deepcopy(trained[0])
    features = torch.randn(1000, 8)
    level = tiny_preset().iso_level
    before = network.decoder.decoder(features)[0] - level
    stretch_density(network, level, 1.5, 50.0)
    after = network.decoder.decoder(features)[0] - level
    torch.testing.assert_close(after, 50 * (before + 1.5), rtol=1e-4, atol=1e-2)
    unstretch_density(network, level, 1.5, 50.0)
    torch.testing.assert_close(network.decoder.decoder(features)[0] - level, before, rtol=1e-4, atol=1e-3)


def test_scaling_the_planes_keeps_the_field(trained: tuple[TriPlaneNet, dict[str, list[dict]]]) -> None:
    network = deepcopy(trained[0])
    photo, points = torch.rand(1, 4, 64, 64), torch.rand(500, 3) - 0.5
    before = network.pivot(photo).planes
    density, colors = network.decoder.field(before[0]).sample(points)
    scale_planes(network, 0.1)
    after = network.pivot(photo).planes
    torch.testing.assert_close(after, 0.1 * before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(network.decoder.field(after[0]).sample(points)[0], density, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(network.decoder.field(after[0]).sample(points)[1], colors, rtol=1e-3, atol=1e-3)


def test_going_on_equals_never_having_stopped(data: Path, tmp_path: Path) -> None:
    straight, stopped = tiny_network(), tiny_network()
    run(straight, "pivot", 6, data, tmp_path / "straight")
    store = HeadStore(data, 4, torch.device("cpu"))
    list(train_stage(stopped, "pivot", tiny_preset(), configuration(6), store, _made(tmp_path / "stopped"), 0.0))
    run(stopped, "pivot", 6, data, tmp_path / "stopped")
    for (name, a), b in zip(straight.state_dict().items(), stopped.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_a_phase_ends_after_its_minutes_with_its_rate_at_zero(data: Path, tmp_path: Path) -> None:
    config = configuration(10_000)
    stage = replace(config.stages["pivot"], minutes=0.02)
    config.stages["pivot"] = stage
    store = HeadStore(data, 4, torch.device("cpu"))
    run_folder = _made(tmp_path / "short")
    list(train_stage(tiny_network(), "pivot", tiny_preset(), config, store, run_folder, None))
    state = torch.load(run_folder / "pivot.pt", weights_only=True)
    assert 0 < state["step"] < 1000
    assert state["seconds"] >= 1.2
    assert state["optimizer"]["param_groups"][0]["lr"] < 0.2 * stage.learning_rate
    assert learning_rate_factor(500, 1.0, stage) == 0


def test_trained_model_is_measured_on_held_out_heads(
    trained: tuple[TriPlaneNet, dict[str, list[dict]]], data: Path, tmp_path: Path
) -> None:
    network, _ = trained
    path = tmp_path / "ball.safetensors"
    save_model(network, "tiny", path, licence="CC0-1.0", origin="trained on a ball")
    _, held_out = head_files(data, 4)
    report = evaluate(load_model(path), held_out)
    assert report.heads == 2
    refined = report.measures["triplanenet"]
    assert refined["source"]["iou"] > 0.7
    assert refined["behind"]["iou"] > 0.7
    assert refined["source"]["psnr"] > 12
    assert "| triplanenet | source |" in report.markdown()
    assert np.asarray(report.sheet).std() > 10


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
