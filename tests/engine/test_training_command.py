"""python -m tpn_engine.training: what it starts from, what it writes, and what it says where it can't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ball_heads import write_heads
from tiny_model import tiny_weights

from tpn_engine.checkpoints import load_model
from tpn_engine.training import mapping
from tpn_engine.training.__main__ import CONFIG, main, parse, train
from tpn_engine.training.config import TrainingConfig

CONFIGS = sorted(CONFIG.parent.glob("*.json"))


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("heads"), 3)


@pytest.fixture
def no_steps(tmp_path: Path) -> Path:
    """The configuration that goes on from a model, without a step."""
    raw = json.loads((CONFIG.parent / "further.json").read_text(encoding="utf-8"))
    for stage in raw["stages"].values():
        stage["steps"] = 0
    path = tmp_path / "no-steps.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_in_the_package_can_be_used(path: Path) -> None:
    config = TrainingConfig.load(path)
    assert config.preset == "synthetic-heads"
    assert list(config.stages) == ["pivot", "refinement", "detail"]
    assert all(stage.batch > 1 for stage in config.stages.values())


def test_going_on_from_a_model_without_a_step_gives_the_model(
    heads: Path, no_steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mapping, "STEPS", 2)
    exported = tmp_path / "model.safetensors"
    arguments = ["--data", str(heads), "--run", str(tmp_path / "run"), "--config", str(no_steps)]
    train(parse([*arguments, "--start", "synthetic-heads", "--export", str(exported), "--device", "cpu"]))
    before, after = load_model("synthetic-heads"), load_model(exported)
    assert after.preset == before.preset
    assert "3 synthetic heads" in after.origin
    tensors = after.network.state_dict()
    for name, value in before.network.state_dict().items():
        if ".mapping." not in name:
            torch.testing.assert_close(tensors[name], value, rtol=2e-3, atol=2e-3, msg=name)
    assert json.loads(capsys.readouterr().out)["codes"] == 6


def test_what_can_not_be_gone_on_from_is_one_sentence(
    heads: Path, no_steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(tiny_weights(tmp_path))
    for start, said in ((tiny, "other sizes"), (str(tmp_path / "none.safetensors"), "none.safetensors")):
        arguments = ["--data", str(heads), "--run", str(tmp_path / "run"), "--config", str(no_steps), "--start", start]
        monkeypatch.setattr("sys.argv", ["training", *arguments])
        assert main() == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
