"""Downloads from a real server that is slow, breaks off, changes its mind or sends something else."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import Behaviour, serving

from tpn_engine.checkpoints import disk
from tpn_engine.checkpoints.catalog import GENERATOR_SOURCE, TRIPLANENET_SOURCES, Source
from tpn_engine.checkpoints.download import Patience, download
from tpn_engine.errors import CancelledError, FileError, ModelError
from tpn_engine.progress import Progress

CONTENT = random.Random(0).randbytes(1_000_000)
HASTE = Patience(silence=0.5, tries=3, pause=0.01)


def source(url: str, **known: object) -> Source:
    made = Source("model.pth", "triplanenet", url, "https://example.org/model")
    return replace(made, **known)  # type: ignore[arg-type]


def fetch(url: str, folder: Path, progress: Progress | None = None, **known: object) -> Path:
    return download(source(url, **known), folder, progress or Progress(), HASTE)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_with_progress(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    with serving(Behaviour(CONTENT)) as url:
        path = fetch(url, tmp_path, Progress(lambda stage, fraction: told.append((stage, fraction))))
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["model.pth"]
    fractions = [fraction for stage, fraction in told if stage == "fetch model.pth"]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert len(fractions) > 3


def test_size_and_hash_are_checked_where_they_are_known(tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    with serving(Behaviour(CONTENT)) as url:
        fetch(url, tmp_path, size=len(CONTENT), sha256=right).unlink()
        with pytest.raises(ModelError, match="SHA-256 differs"):
            fetch(url, tmp_path, sha256="0" * 64)
        assert not names(tmp_path)
        with pytest.raises(ModelError, match="1000000 bytes instead of 7"):
            fetch(url, tmp_path, size=7)
    with serving(Behaviour(CONTENT, length=False)) as url, pytest.raises(ModelError, match="bytes instead of 7"):
        fetch(url, tmp_path, size=7)
    assert "model.pth" not in names(tmp_path)


def test_a_slow_server_is_waited_for(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT, pause=0.05)) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT


def test_a_server_that_falls_silent_is_asked_again(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, block=300_000, pause=3.0)
    with serving(behaviour) as url:
        path = download(source(url), tmp_path, patience=Patience(silence=0.2, tries=1, pause=0.01))
    assert path.read_bytes() == CONTENT
    assert [request.get("Range") for request in behaviour.seen[1:]] == [f"bytes={n}00000-" for n in (3, 6, 9)]


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/file"
        with pytest.raises(ModelError, match="no answer in time"):
            download(source(url), tmp_path, patience=Patience(silence=0.1, tries=2, pause=0.01))


def test_what_breaks_off_goes_on_by_itself(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, breaks=[300_000, 0, 1, 200_000])
    with serving(behaviour) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    assert [request.get("Range") for request in behaviour.seen] == [
        None,
        "bytes=300000-",
        "bytes=300000-",
        "bytes=300001-",
        "bytes=500001-",
    ]
    assert behaviour.sent == len(CONTENT)  # no byte twice


def test_a_server_that_stays_away_is_told_and_the_next_call_goes_on(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, breaks=[400_000, 0, 0, 0])
    with serving(behaviour) as url:
        with pytest.raises(ModelError, match="check the connection"):
            fetch(url, tmp_path)
        assert (tmp_path / "model.pth.part").stat().st_size == 400_000
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.sent == len(CONTENT)
    assert names(tmp_path) == ["model.pth"]


def test_nobody_there(tmp_path: Path) -> None:
    with serving(Behaviour(b"")) as url:
        pass
    with pytest.raises(ModelError, match="could not be fetched"):
        fetch(url, tmp_path)


def test_a_server_without_ranges_starts_again(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, ranges=False, breaks=[300_000])
    with serving(behaviour) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.sent == len(CONTENT) + 300_000


@pytest.mark.parametrize("etag", ['"two"', None])
def test_a_file_that_changed_meanwhile_starts_again(etag: str | None, tmp_path: Path) -> None:
    """By its ETag, or where there is none by its size."""
    behaviour = Behaviour(CONTENT, etag=etag and '"one"', breaks=[300_000, 0, 0, 0])
    with serving(behaviour) as url:
        with pytest.raises(ModelError):
            fetch(url, tmp_path)
        behaviour.content, behaviour.etag = CONTENT[::-1] + b"more", etag
        assert fetch(url, tmp_path).read_bytes() == CONTENT[::-1] + b"more"


def test_a_file_that_became_shorter_starts_again(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, etag=None, breaks=[300_000, 0, 0, 0])
    with serving(behaviour) as url:
        with pytest.raises(ModelError):
            fetch(url, tmp_path)
        behaviour.content = CONTENT[:1000]
        assert fetch(url, tmp_path).read_bytes() == CONTENT[:1000]


def test_leftovers_that_make_no_sense_start_again(tmp_path: Path) -> None:
    (tmp_path / "model.pth.part").write_bytes(b"x" * 10)
    for notes in ("", "[]", '{"url": "elsewhere", "total": 1000000, "validator": null}'):
        (tmp_path / "model.pth.part.json").write_text(notes)
        with serving(Behaviour(CONTENT)) as url:
            path = fetch(url, tmp_path)
        assert path.read_bytes() == CONTENT
        path.rename(tmp_path / "model.pth.part")


def test_without_a_length_the_end_is_the_end(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT, length=False)) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT


def test_passing_troubles_are_waited_out_and_refusals_are_told(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT, statuses=[503, 429])) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    for status in (403, 404):
        told = pytest.raises(ModelError, match=rf"answers {status}.*example\.org.*tpn models add")
        with serving(Behaviour(CONTENT, statuses=[status])) as url, told:
            fetch(url, tmp_path / str(status))


CONFIRMATION = b"""<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="download-form" action="/download" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="abc"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="1-2&amp;3"></form>"""


def test_the_page_that_asks_for_confirmation_is_answered(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, pages=[CONFIRMATION])
    with serving(behaviour) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.paths[-1] == "/download?id=abc&export=download&confirm=t&uuid=1-2%263"


@pytest.mark.parametrize("pages", [[b"<html>Quota exceeded</html>"], [CONFIRMATION] * 9, [b"\xff\xfe<form action=x>"]])
def test_a_web_page_is_not_taken_for_a_model(pages: list[bytes], tmp_path: Path) -> None:
    told = pytest.raises(ModelError, match=r"web page instead of model\.pth.*example\.org")
    with serving(Behaviour(CONTENT, pages=list(pages))) as url, told:
        fetch(url, tmp_path)
    assert "model.pth" not in names(tmp_path)


@pytest.mark.parametrize("target", ["http://example.org/x", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_only_encrypted_addresses_are_followed(target: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="only https"):
        fetch(target, tmp_path)
    with (
        serving(Behaviour(CONTENT, redirect=target)) as url,
        pytest.raises(ModelError, match=r"only https|answers 302"),
    ):
        fetch(url, tmp_path)
    form = b'<form action="' + target.encode() + b'"><input type="hidden" name="id" value="1"></form>'
    with serving(Behaviour(CONTENT, pages=[form])) as url, pytest.raises(ModelError, match="only https"):
        fetch(url, tmp_path)


def test_redirects_are_followed(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as final, serving(Behaviour(b"", redirect=final)) as url:
        assert fetch(url, tmp_path).read_bytes() == CONTENT


def test_more_than_announced_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpn_engine.checkpoints.download.LARGEST", 500_000)
    for length in (True, False):
        with serving(Behaviour(CONTENT, length=length)) as url, pytest.raises(ModelError, match="more than"):
            fetch(url, tmp_path)
        assert "model.pth" not in names(tmp_path)


def test_cancel_keeps_what_came(tmp_path: Path) -> None:
    asked: list[int] = []

    def after_three() -> bool:
        asked.append(1)
        return len(asked) > 3

    behaviour = Behaviour(CONTENT, pause=0.01)
    with serving(behaviour) as url:
        with pytest.raises(CancelledError):
            fetch(url, tmp_path, Progress(cancelled=after_three))
        assert 0 < (tmp_path / "model.pth.part").stat().st_size < len(CONTENT)
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    assert "Range" in behaviour.seen[-1]


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    second: list[str] = []

    def also(stage: str, fraction: float) -> None:
        if not second:
            with pytest.raises(ModelError, match="already"):
                fetch(url, tmp_path)
            second.append(stage)

    with serving(Behaviour(CONTENT)) as url:
        assert fetch(url, tmp_path, Progress(also)).read_bytes() == CONTENT
    assert second


def test_a_disk_without_room_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    with serving(Behaviour(CONTENT)) as url, pytest.raises(FileError, match="too full"):
        fetch(url, tmp_path)


LIMITED = """
import resource, sys
from pathlib import Path
from tpn_engine.checkpoints.catalog import Source
from tpn_engine.checkpoints.download import download
from tpn_engine.errors import FileError
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    download(Source("model.pth", "triplanenet", sys.argv[1], ""), Path(sys.argv[2]))
except FileError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits on the size of files are a matter of POSIX")
def test_a_disk_that_fills_up_meanwhile_is_told_and_the_download_goes_on_later(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        command = [sys.executable, "-c", LIMITED, url, str(tmp_path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
        assert "make room on the disk" in told
        assert (tmp_path / "model.pth.part").stat().st_size == 400_000
        assert fetch(url, tmp_path).read_bytes() == CONTENT
    assert behaviour.seen[-1]["Range"] == "bytes=400000-"


def test_the_official_addresses_are_encrypted() -> None:
    for official in (GENERATOR_SOURCE, *TRIPLANENET_SOURCES.values()):
        assert official.url.startswith("https://drive.usercontent.google.com/download?id=")
        assert official.page.startswith("https://drive.google.com/file/d/")
