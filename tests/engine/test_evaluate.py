"""Methods are compared on heads whose every view is known, as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ball_heads import SIZE, YAWS, write_heads
from PIL import Image
from portrait_photos import astronaut
from tiny_model import tiny_model, tiny_weights

from tpn_engine.checkpoints import load_model
from tpn_engine.cli import main
from tpn_engine.errors import CancelledError
from tpn_engine.portrait import PortraitReader
from tpn_engine.progress import Progress
from tpn_engine.training.balance import shortfall
from tpn_engine.training.evaluate import evaluate, held_out_heads, write_report


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("heads"), 4)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["tpn", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_any_methods_are_compared(data: Path, tmp_path: Path) -> None:
    files = held_out_heads(data, 2)
    short = {"refine_fit": {"steps": 40, "resolution": 64, "rays": 2000, "learning_rate": 0.1}}
    report = evaluate(tiny_model(tmp_path), files, ("psp", "triplanenet", "refine_fit"), options=short, sheet_heads=1)
    assert (report.heads, len(files)) == (2, 2)
    assert list(report.measures) == ["psp", "triplanenet", "refine_fit"]
    assert all(set(groups) == {"source", "±30", "side", "behind"} for groups in report.measures.values())
    assert report.measures["refine_fit"]["source"]["mse"] < 0.9 * report.measures["triplanenet"]["source"]["mse"]
    assert report.seconds["refine_fit"] > report.seconds["psp"]
    assert "landmarks" not in report.measures["psp"]["source"]  # a ball has no face
    assert report.sheet.size == (len(YAWS) * SIZE, 4 * SIZE)  # the truth and three methods

    write_report(report, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text())["heads"] == 2
    assert "| refine_fit | ±30 |" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    with Image.open(tmp_path / "report" / "sheet.png") as sheet:
        assert np.asarray(sheet).std() > 10


def test_landmarks_are_compared_where_there_is_a_face(tmp_path: Path) -> None:
    portrait = PortraitReader().read(astronaut())
    half = portrait.matte.reshape(256, 2, 256, 2).mean((1, 3))
    np.savez(
        tmp_path / "head_000000.npz",
        rgb=(portrait.crop.reshape(1, 256, 2, 256, 2, 3).mean((2, 4)) * 255).astype(np.uint8),
        alpha=(half * 255).astype(np.uint8)[None],
        depth=np.where(half > 0, 2.5, 0).astype(np.float16)[None],
        label=portrait.camera.label[None],
    )
    report = evaluate(load_model("synthetic-heads"), held_out_heads(tmp_path, 1))
    pivot, refined = (report.measures[method]["source"]["landmarks"] for method in ("psp", "triplanenet"))
    assert 0 < refined < min(pivot, 10)
    assert f" | {refined:.1f} | " in report.markdown()


def test_groups_of_people_are_compared(data: Path, tmp_path: Path) -> None:
    people = [(0.1, True, "young"), (0.5, False, "young"), (0.9, True, "old"), (0.2, False, "old")]
    for path, (melanin, female, age) in zip(sorted(data.glob("*.npz")), people, strict=True):
        with np.load(path) as file:
            np.savez(tmp_path / path.name, **file, melanin=melanin, female=female, age=age)
    files = held_out_heads(tmp_path, 1)
    report = evaluate(tiny_model(tmp_path), files, ("psp",), sheet_heads=1)
    groups = report.balance["psp"]
    heads = {name: group["heads"] for name, group in groups.items()}
    assert heads == {
        "all": 4,
        "dark skin": 1,
        "medium skin": 1,
        "light skin": 2,
        "female": 2,
        "male": 2,
        "old": 2,
        "young": 2,
    }
    assert groups["all"]["psnr"] == pytest.approx(report.measures["psp"]["source"]["psnr"])
    assert groups["female"]["psnr"] + groups["male"]["psnr"] == pytest.approx(2 * groups["all"]["psnr"])
    worse = shortfall(groups["female"], groups["all"], "psnr")
    assert worse == pytest.approx(-shortfall(groups["male"], groups["all"], "psnr"))
    assert f"({worse:+.0f})" in report.markdown()


def test_heads_of_nobody_are_not_grouped(data: Path, tmp_path: Path) -> None:
    report = evaluate(tiny_model(tmp_path), held_out_heads(data, 2), ("psp",), sheet_heads=1)
    assert report.balance == {}


def test_a_comparison_can_be_cancelled(data: Path, tmp_path: Path) -> None:
    asked: list[int] = []
    progress = Progress(cancelled=lambda: bool(asked.append(1)) or len(asked) > 3)
    with pytest.raises(CancelledError):
        evaluate(tiny_model(tmp_path), held_out_heads(data, 1), ("latent",), progress=progress)


def test_methods_are_chosen_on_the_command_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("-o", tmp_path / "report", "--held-out-every", 4, "--model", tiny_weights(tmp_path))
    assert run(monkeypatch, data, *options, "--methods", "psp, triplanenet") == 0
    assert "| triplanenet | source |" in capsys.readouterr().out
    assert run(monkeypatch, data, *options, "--methods", "psp,magic") == 2
    assert "choose triplanenet" in capsys.readouterr().err


def test_a_folder_without_held_out_heads_ends_with_what_to_do(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, data, "-o", tmp_path / "report") == 1
    assert "--held-out-every 1" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
