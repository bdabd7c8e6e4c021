"""The files of LPIPS and ArcFace are added in any order, told of, removed; what is wrong ends in a sentence."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import loss_files
import pytest
import torch
from official_files import filled_network, save, save_authors, tiny_official
from safetensors.torch import load_file, save_file
from torch import Tensor

from tpn_engine.checkpoints import add_model, catalog, remove_model, verify_model
from tpn_engine.checkpoints.loss_weights import IDENTITY, LPIPS_LINEAR
from tpn_engine.checkpoints.perceptual import load_identity, load_lpips
from tpn_engine.cli import main
from tpn_engine.errors import ModelError

CPU = torch.device("cpu")
State = dict[str, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    folder = tmp_path_factory.mktemp("files")
    yield loss_files.save_loss_files(folder)
    shutil.rmtree(folder)  # ArcFace's network is large


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "models"
    monkeypatch.setenv("TPN_MODELS", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def refused(*paths: Path) -> str:
    with pytest.raises(ModelError) as caught:
        add_model(paths)
    told = str(caught.value)
    assert told.endswith(".")
    assert len(told) < 400
    return told


def without(state: dict[str, Tensor], key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


def test_files_are_added_one_by_one_and_together(
    files: list[Path], models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["tpn", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return said.out

    def states() -> list[str]:
        return run("list").partition("For losses and measures:\n")[2].splitlines()

    alexnet, linear, identity = files
    heads = [entry.name for entry in catalog()]
    assert all("not here: `tpn models add` " in line for line in states())
    assert load_lpips(CPU) is None
    assert load_identity(CPU) is None
    assert "in part: `tpn models add` torchvision's AlexNet" in run("add", linear)
    assert "in part: `tpn models add` torchvision's AlexNet" in states()[0]
    assert load_lpips(CPU) is None
    assert run("add", identity, alexnet).startswith("loss-lpips and loss-identity is ready")
    assert [line.split()[:2] for line in states()] == [["loss-lpips", "present."], ["loss-identity", "present."]]
    assert [entry.name for entry in catalog()] == heads

    lpips, network = load_lpips(CPU), load_identity(CPU)
    assert lpips is not None
    assert network is not None
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in loss_files.identity_state().items())
    for index, value in enumerate(loss_files.linear_state().values()):
        assert torch.equal(lpips.channel_weights[index], value)
    assert torch.equal(lpips.state_dict()["features.10.weight"], loss_files.alexnet_state()["features.10.weight"])
    assert not any(parameter.requires_grad for parameter in (*lpips.parameters(), *network.parameters()))

    assert [line.split()[:2] for line in run("verify").splitlines()[-2:]] == [
        ["loss-lpips", "whole"],
        ["loss-identity", "whole"],
    ]
    whole = IDENTITY.path.read_bytes()
    for damaged, complaint in ((whole[:-4], "can't be read"), (whole[:-4] + b"\0\0\xc0\x7f", "no numbers")):
        IDENTITY.path.write_bytes(damaged)
        with pytest.raises(ModelError, match=complaint):
            verify_model("loss-identity")
    LPIPS_LINEAR.path.unlink()
    with pytest.raises(ModelError, match="loss-lpips is in part"):
        verify_model("loss-lpips")

    assert run("remove", "loss-lpips") == "loss-lpips is removed.\n"
    assert load_lpips(CPU) is None
    remove_model("loss-identity")
    with pytest.raises(ModelError, match="not installed"):
        remove_model("loss-identity")
    assert not [path for path in models.rglob("*") if path.is_file()]


@pytest.mark.parametrize("stream", [False, True])
def test_files_of_old_torches_are_read(stream: bool, tmp_path: Path) -> None:
    linear, alexnet = loss_files.linear_state(), loss_files.alexnet_state()
    (tmp_path / "alex.pth").write_bytes(loss_files.python_2_stream(linear))
    features = {key: torch.nn.Parameter(value) for key, value in alexnet.items()}
    add_model([tmp_path / "alex.pth", save(features, tmp_path / "alexnet-owt.pth", stream=stream)])
    lpips = load_lpips(CPU)
    assert lpips is not None
    assert all(map(torch.equal, lpips.channel_weights, linear.values()))
    assert torch.equal(lpips.state_dict()["features.0.weight"], alexnet["features.0.weight"])


def test_what_is_no_such_file_is_refused(tmp_path: Path, models: Path) -> None:
    alexnet, linear = loss_files.alexnet_state(), loss_files.linear_state()
    wrong: list[tuple[State, str]] = [
        (without(alexnet, "features.6.bias"), "features.6.bias is missing"),
        (alexnet | {"features.0.weight": torch.zeros(64, 3, 3, 3)}, r"features.0.weight is (64, 3, 3, 3)"),
        (alexnet | {"features.13.weight": torch.zeros(1)}, "features.13.weight is not part of it"),
        (linear | {"lin1.model.1.weight": torch.zeros(1, 128, 1, 1)}, "is not LPIPS's alex.pth (version 0.1): it "),
        (linear | {"lin4.model.1.weight": torch.full((1, 256, 1, 1), float("nan"))}, "no numbers"),
        (linear | {"lin4.model.1.weight": 3}, "something other than a tensor"),
        ({"output_layer.3.weight": torch.zeros(512, 25088)}, "is not ArcFace's model_ir_se50.pth"),
    ]
    for index, (state, told) in enumerate(wrong):
        path = save(state, tmp_path / f"wrong{index}.pth")
        sentence = refused(path)
        assert told in sentence
        assert sentence.startswith(str(path))
    assert not [path for path in models.rglob("*") if path.is_file()]


def test_hostile_files_are_not_run(tmp_path: Path, models: Path) -> None:
    canary = tmp_path / "canary"

    class Call:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return exec, (f"open({str(canary)!r}, 'w')",)

    state = loss_files.linear_state() | {"lin4.model.1.weight": Call()}
    assert "nothing of it was run" in refused(save(state, tmp_path / "alex.pth"))
    whole = loss_files.python_2_stream(loss_files.linear_state())
    (tmp_path / "alex.pth").write_bytes(whole[:-10])
    assert "ends too early" in refused(tmp_path / "alex.pth")
    (tmp_path / "alex.pth").write_bytes(whole.replace(b"](U\x13lin0.model", b"](K\x13lin0.model"))
    refused(tmp_path / "alex.pth")
    assert not canary.exists()
    assert not models.exists()


def test_files_are_not_mixed_up(files: list[Path], tmp_path: Path, models: Path) -> None:
    alexnet, linear, _ = files
    head = save_authors(filled_network(tiny_official(2, False)), tmp_path)[0]
    assert "apart" in refused(linear, head)
    assert "of one kind" in refused(linear, linear)
    assert not models.exists()
    add_model([linear])
    assert "`tpn models remove loss-lpips` first" in refused(alexnet, linear)


def test_damaged_weights_are_told(files: list[Path], models: Path) -> None:
    add_model(files[:2])
    path = models / "losses" / "lpips-linear.safetensors"
    save_file(dict(list(load_file(path).items())[1:]), path)
    with pytest.raises(ModelError, match=r"channel_weights\.0 is missing: remove it with .* loss-lpips"):
        load_lpips(CPU)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="can't be read: remove it"):
        load_lpips(CPU)
