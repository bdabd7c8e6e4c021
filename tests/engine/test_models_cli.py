"""`tpn models`: fetch, add, check, remove; the licence first, and one clear line wherever something is wrong."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from file_server import Behaviour, serving
from official_files import filled_network, save, save_authors, save_nvidia, tiny_official, triplanenet_checkpoint
from tiny_model import tiny_weights

from tpn_engine.checkpoints import add, catalog, load_model
from tpn_engine.checkpoints.catalog import GENERATOR_SOURCE, TRIPLANENET_SOURCES
from tpn_engine.cli import main
from tpn_engine.nets.triplanenet import TriPlaneNet

sources = sys.modules["tpn_engine.checkpoints.catalog"]
Run = Callable[..., "Result"]


@dataclass
class Result:
    code: int
    out: str
    err: str

    def complaint(self) -> str:
        """The last line, which says what is wrong."""
        assert "Traceback" not in self.err + self.out
        assert "Unexpected" not in self.err
        line = self.err.strip().splitlines()[-1]
        assert line.startswith("tpn: ")
        return line


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own, and official presets of tiny size."""
    folder = tmp_path / "models"
    monkeypatch.setenv("TPN_MODELS", str(folder))
    monkeypatch.setattr(add, "ffhq512_128", tiny_official)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def in_this_process(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["tpn", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Result(ended.value.code if isinstance(ended.value.code, int) else 0, said.out, said.err)

    return in_this_process


@pytest.fixture(scope="module")
def network() -> TriPlaneNet:
    return filled_network(tiny_official(2, True))


@pytest.fixture(scope="module")
def files(network: TriPlaneNet, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_authors(network, tmp_path_factory.mktemp("files"))


@pytest.fixture
def authors(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Behaviour]]:
    """The authors' two files on a server of our own."""
    with ExitStack() as stack:
        served = [Behaviour(file.read_bytes()) for file in files]
        urls = [stack.enter_context(serving(behaviour)) for behaviour in served]
        monkeypatch.setitem(TRIPLANENET_SOURCES, 2, replace(TRIPLANENET_SOURCES[2], url=urls[0]))
        monkeypatch.setattr(sources, "GENERATOR_SOURCE", replace(GENERATOR_SOURCE, url=urls[1]))
        yield served


def left(models: Path) -> list[str]:
    return sorted(path.name for path in models.rglob("*") if path.is_file())


def models_listed(run: Run) -> list[str]:
    return run("list").out.partition("For losses and measures:")[0].splitlines()


WHOLE = ["triplanenet-v2.json", "triplanenet-v2.safetensors"]


def test_from_nothing_to_a_model_and_back(
    run: Run, models: Path, network: TriPlaneNet, authors: list[Behaviour]
) -> None:
    fetched = run("get", "triplanenet-v2", "--accept-licence")
    assert fetched.code == 0, fetched.err
    assert "research and evaluation only" in fetched.err
    assert "https://github.com/NVlabs/eg3d/blob/main/LICENSE.txt" in fetched.err
    assert f"triplanenet_v2_final.pth, from {TRIPLANENET_SOURCES[2].page}" in fetched.err
    assert left(models) == WHOLE
    state = load_model("triplanenet-v2").network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())

    listed = models_listed(run)
    assert [line.split()[:2] for line in listed] == [
        ["synthetic-heads", "present"],
        ["triplanenet-v2", "present"],
        ["triplanenet-v1", "not"],
    ]
    checked = run("verify")
    assert checked.code == 0
    assert [line.split()[:2] for line in checked.out.splitlines()] == [
        ["synthetic-heads", "whole"],
        ["triplanenet-v2", "whole"],
    ]
    assert "already" in run("get", "triplanenet-v2").complaint()
    removed = run("remove", "triplanenet-v2")
    assert (removed.code, removed.out) == (0, "triplanenet-v2 is removed.\n")
    assert left(models) == []


def test_the_licence_is_shown_and_must_be_accepted(
    run: Run, models: Path, files: list[Path], authors: list[Behaviour], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (("get", "triplanenet-v2"), ("add", *files)):
        refused = run(*command)
        assert refused.code == 2
        assert "--accept-licence" in refused.complaint()
        assert "research and evaluation only" in refused.err
        assert left(models) == []
    assert not authors[0].seen

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run("add", *files).code == 2
    assert left(models) == []
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run("add", *files).code == 0
    assert left(models) == WHOLE


def test_an_interrupted_download_goes_on(run: Run, models: Path, authors: list[Behaviour]) -> None:
    authors[0].statuses = [404]
    refused = run("get", "triplanenet-v2", "--accept-licence")
    assert refused.code == 1
    assert "drive.google.com/file/d/" in refused.complaint()
    authors[1].statuses = [403]
    assert run("get", "triplanenet-v2", "--accept-licence").code == 1
    assert "triplanenet_v2_final.pth" in left(models)
    assert run("get", "triplanenet-v2", "--accept-licence", "--quiet").code == 0
    assert authors[0].sent == len(authors[0].content)
    assert left(models) == WHOLE


def test_what_is_fetched_but_is_no_model_does_not_stay(
    run: Run, models: Path, authors: list[Behaviour], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"

    class Call:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, (f"open({str(canary)!r}, 'w')",)

    authors[0].content = save({"state_dict": Call()}, tmp_path / "bad").read_bytes()
    refused = run("get", "triplanenet-v2", "--accept-licence")
    assert refused.code == 1
    assert "nothing of it was run" in refused.complaint()
    assert not canary.exists()
    assert left(models) == []


def test_a_leftover_is_removed_with_the_model(run: Run, models: Path, authors: list[Behaviour]) -> None:
    authors[1].statuses = [404]
    run("get", "triplanenet-v2", "--accept-licence")
    assert left(models)
    assert run("remove", "triplanenet-v2", "--quiet").code == 0
    assert left(models) == []


def test_files_one_after_the_other(run: Run, models: Path, files: list[Path], authors: list[Behaviour]) -> None:
    alone = run("add", files[0], "--accept-licence")
    assert alone.code == 1
    assert "latent_avg is missing" in alone.complaint()
    first = run("add", files[1], "--accept-licence")
    assert (first.code, first.out.split()[0]) == (0, "eg3d-ffhq512-128")
    assert run("add", files[0], "--accept-licence").code == 0
    assert run("remove", "eg3d-ffhq512-128").code == 0
    assert left(models) == WHOLE
    assert run("add", *files, "--accept-licence").code == 1  # it is here
    assert run("remove", "triplanenet-v2").code == 0


def test_what_is_here_is_not_fetched_again(run: Run, models: Path, files: list[Path], authors: list[Behaviour]) -> None:
    assert run("add", files[1], "--accept-licence").code == 0
    assert run("get", "triplanenet-v2", "--accept-licence").code == 0
    assert not authors[1].seen


def test_nvidias_file(run: Run, models: Path, network: TriPlaneNet, tmp_path: Path) -> None:
    file = save_nvidia(network, tmp_path / "ffhq512-128.pkl")
    checkpoint = save(triplanenet_checkpoint(network), tmp_path / "triplanenet_v2_final.pth")
    assert run("add", file, "--accept-licence").code == 0
    refused = run("add", checkpoint, file, "--accept-licence")
    assert refused.code == 1
    assert "latent_avg is missing" in refused.complaint()
    assert "ffhq512-128.pth" in refused.complaint()


def test_our_own_models_need_no_licence(run: Run, models: Path, tmp_path: Path) -> None:
    assert run("add", tiny_weights(tmp_path)).code == 0
    assert models_listed(run)[-1].startswith("tiny             present   added by you. Licence: CC0-1.0")
    assert [entry.name for entry in catalog()][-1] == "tiny"
    assert run("verify", "tiny").code == 0


def test_damaged_models_are_told(run: Run, models: Path, tmp_path: Path) -> None:
    run("add", tiny_weights(tmp_path))
    content = bytearray((models / "tiny.safetensors").read_bytes())
    content[-1] ^= 1
    (models / "tiny.safetensors").write_bytes(content)
    for command in (("verify", "tiny"), ("verify",)):
        told = run(*command)
        assert told.code == 1
        assert "SHA-256 differs" in told.complaint()
    (models / "tiny.json").write_text("{")
    assert "unknown" in run("list").out
    assert run("remove", "tiny").code == 0


def test_names_that_are_none_are_told(run: Run) -> None:
    for command in ("get", "verify", "remove"):
        told = run(command, "someone-elses")
        assert told.code == 1
        assert "synthetic-heads" in told.complaint()
    assert "stays" in run("remove", "synthetic-heads").complaint()
    assert "already" in run("get", "synthetic-heads").complaint()
    assert "tpn models get triplanenet-v1" in run("verify", "triplanenet-v1").complaint()
    for command in ("get", "add", "remove"):
        assert run(command).code == 2
