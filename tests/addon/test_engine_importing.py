"""A photo's way through a real service, and through servers that do their worst: never stuck, never blocking."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import service_photos as photos
from nasty_server import NastyServer, answer, answering, health, patiently, silent, status, until
from service_process import PATIENCE, wait_until_gone

from blender_addon.engine import importing
from blender_addon.engine.client import Client
from blender_addon.engine.errors import EngineError
from blender_addon.engine.importing import ImportJob, ImportSettings, MeshJob
from blender_addon.engine.process import Engine

Make = Callable[..., ImportJob]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(Path(sys.executable), folder / "cache", folder / "log", "cpu", str(tiny), os.getpid())
    yield engine
    family = family_of(engine)
    engine.stop(seconds=20.0)
    wait_until_gone(family)


@pytest.fixture
def asked(tmp_path: Path) -> ImportSettings:
    photo = tmp_path / "Eileen Collins.jpg"
    photo.write_bytes(photos.portrait())
    return ImportSettings(photo, "", "triplanenet", None, 48, None, False, "")


class Ready(Engine):
    """An engine that another program answers for."""

    def __init__(self, server: NastyServer) -> None:
        super().__init__(Path("python"), Path("nowhere"), Path("nowhere"), "auto", "tiny", os.getpid())
        self._client = Client(server.connection)

    def start(self) -> None:
        self.state, self.client = "ready", self._client


def family_of(engine: Engine) -> list[psutil.Process]:
    if engine.client is None:
        return []
    front = psutil.Process(engine.client.connection.pid)
    return [front, *front.children(recursive=True)]


def finished(job: Any, seen: list[tuple[str, float]] | None = None) -> Any:
    """Step as a timer does; no step is long, and the bar never goes back."""
    end = time.monotonic() + PATIENCE
    fraction, times = 0.0, []
    while True:
        before = time.perf_counter()
        over = job.step(0.03)
        times.append(time.perf_counter() - before)
        assert fraction <= job.fraction <= 1.0
        fraction = job.fraction
        if seen is not None and (not seen or seen[-1][0] != job.stage):
            seen.append((job.stage, job.fraction))
        if over:
            break
        assert time.monotonic() < end, (job.stage, job.fraction)
        time.sleep(0.01)
    # 30 ms, and one request of 50 ms at most; more only while the system lets us wait for a core.
    assert sum(spent > 0.1 for spent in times) <= 2 + len(times) // 10, times
    return job


def reached(job: ImportJob, stage: str) -> None:
    until(lambda: job.step() or job.stage == stage)
    assert job.state == "running", job.error


def client_of(engine: Engine) -> Client:
    assert engine.client is not None
    return engine.client


class TestImport:
    def test_a_photo_becomes_a_head(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        seen: list[tuple[str, float]] = []
        job = finished(ImportJob(engine, asked, tmp_path), seen)
        assert (job.state, job.error, job.stage, job.fraction) == ("done", "", "Done", 1.0)
        assert seen[0][0] == "Starting the engine"
        assert {"Starting the engine", "Making the mesh"} <= {stage for stage, _ in seen}
        result = job.result
        assert result.name == "Eileen Collins"
        assert len(result.camera) == 25
        assert result.iso_level == pytest.approx(0.7)
        assert result.provenance["photo"]["sha256"]
        arrays = np.load(io.BytesIO(result.npz.read_bytes()))
        assert arrays["vertices"].shape[1] == 3
        assert result.crop.read_bytes().startswith(b"\x89PNG")
        assert all(isinstance(warning, str) for warning in job.warnings)
        again = finished(ImportJob(engine, asked, tmp_path))
        assert again.result.camera == result.camera

    def test_another_mesh_of_the_same_capture(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        head = finished(ImportJob(engine, asked, tmp_path)).result
        first = len(np.load(head.npz)["vertices"])
        job = finished(MeshJob(engine, head.capture_id, 80, "", tmp_path))
        assert job.state == "done"
        assert len(np.load(job.npz)["vertices"]) > 1.5 * first
        patiently(lambda: client_of(engine).forget(head.capture_id))
        job = finished(MeshJob(engine, head.capture_id, 80, "", tmp_path))
        assert job.state == "failed"
        assert "import the photo again" in job.error

    @pytest.mark.parametrize(
        ("photo", "message"),
        [
            (photos.without_a_face, "face"),
            (photos.tiny, "60 x 60"),
            (photos.bomb, ""),
            (lambda: b"no picture at all", "not a picture"),
            (lambda: b"", "not a picture"),
        ],
    )
    def test_photos_that_are_wrong(
        self, engine: Engine, asked: ImportSettings, tmp_path: Path, photo: Callable[[], bytes], message: str
    ) -> None:
        asked.photo.write_bytes(photo())
        job = finished(ImportJob(engine, asked, tmp_path))
        assert (job.state, job.result) == ("failed", None)
        assert message in job.error
        assert len(job.error) > 10

    def test_files_that_are_wrong(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        huge = tmp_path / "huge.jpg"
        with huge.open("wb") as file:
            file.truncate(65 * 2**20)
        for path, message in ((tmp_path / "none.jpg", "choose it again"), (tmp_path, "read"), (huge, "64 MB")):
            job = finished(ImportJob(engine, replace(asked, photo=path), tmp_path))
            assert job.state == "failed"
            assert message in job.error
        job = finished(ImportJob(engine, asked, tmp_path / "no such folder"))
        assert job.state == "failed"

    def test_options_that_are_wrong(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        for changes in ({"model": "nobody"}, {"method": "magic"}, {"resolution": 9}, {"face": 30}):
            job = finished(ImportJob(engine, replace(asked, **changes), tmp_path))
            assert job.state == "failed"
            assert job.error


class TestCancel:
    def test_while_it_is_computed(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        asked.photo.write_bytes(photos.slow())
        job = ImportJob(engine, asked, tmp_path)
        reached(job, "Finding the face")
        client = client_of(engine)
        assert patiently(client.health).running == 1
        job.cancel()
        finished(job)
        assert (job.state, job.error) == ("cancelled", "")
        until(lambda: patiently(client.health).running == 0)
        assert (job.step(), job.state) == (True, "cancelled")

    def test_while_it_waits(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        slow = replace(asked, photo=tmp_path / "slow.png")
        slow.photo.write_bytes(photos.slow())
        asked.photo.write_bytes(photos.other_portrait())
        running, waiting = ImportJob(engine, slow, tmp_path), ImportJob(engine, asked, tmp_path)
        reached(running, "Finding the face")
        reached(waiting, "Waiting for the engine")
        for job in (waiting, running):
            job.cancel()
            assert finished(job).state == "cancelled"
        client = client_of(engine)
        until(lambda: patiently(client.health).running + patiently(client.health).queued == 0)

    def test_at_once(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        job = ImportJob(engine, asked, tmp_path)
        job.cancel()
        assert (job.state, job.step()) == ("cancelled", True)

    def test_after_the_photo_was_sent_but_before_the_answer(self, asked: ImportSettings, tmp_path: Path) -> None:
        def talk(connection: socket.socket, request: bytes) -> None:
            if request.startswith(b"POST"):
                time.sleep(0.5)
                connection.sendall(answer(202, {"id": "ab12"}))
            else:
                connection.sendall(answer(204, b""))

        asked.photo.write_bytes(photos.tiny())
        with NastyServer(talk) as server:
            job = ImportJob(Ready(server), asked, tmp_path)
            reached(job, "Sending the photo")
            until(lambda: job.step() or job._transfer is None or job._transfer.sent)
            job.cancel()
            assert finished(job).state == "cancelled"
            assert server.requests[-1].startswith("DELETE /v1/captures/ab12 ")

    def test_while_the_mesh_is_made(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        job = ImportJob(engine, replace(asked, resolution=512), tmp_path)
        reached(job, "Making the mesh")
        job.cancel()
        assert finished(job).state == "cancelled"
        client = client_of(engine)
        until(lambda: patiently(client.health).worker == "idle")

    def test_when_it_is_over(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        job = finished(ImportJob(engine, asked, tmp_path))
        job.cancel()
        assert job.state == "done"


class TestEngineTrouble:
    def test_it_dies_while_it_computes(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        asked.photo.write_bytes(photos.slow())
        job = ImportJob(engine, asked, tmp_path)
        reached(job, "Finding the face")
        family = family_of(engine)
        os.kill(family[0].pid, signal.SIGKILL)
        finished(job)
        assert job.state == "failed"
        assert "face" in job.error  # the new engine went on with it
        wait_until_gone(family)

    def test_it_dies_between_two_imports(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        finished(ImportJob(engine, asked, tmp_path))
        family = family_of(engine)
        os.kill(family[0].pid, signal.SIGKILL)
        assert finished(ImportJob(engine, asked, tmp_path)).state == "done"
        wait_until_gone(family)

    def test_its_worker_dies(self, engine: Engine, asked: ImportSettings, tmp_path: Path) -> None:
        asked.photo.write_bytes(photos.slow())
        job = ImportJob(engine, asked, tmp_path)
        reached(job, "Finding the face")
        family_of(engine)[1].kill()
        for member in family_of(engine)[1:]:
            member.kill()
        finished(job)
        assert job.state == "failed"
        assert "worker process" in job.error

    def test_it_hangs(
        self, engine: Engine, asked: ImportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importing, "ANSWER_SECONDS", 1.0)
        asked.photo.write_bytes(photos.slow())
        job = ImportJob(engine, asked, tmp_path)
        reached(job, "Finding the face")
        os.kill(family_of(engine)[0].pid, signal.SIGSTOP)
        started = time.monotonic()
        finished(job)
        assert (job.state, "does not answer" in job.error) == ("failed", True)
        assert time.monotonic() - started < 10.0
        asked.photo.write_bytes(photos.portrait())
        monkeypatch.undo()
        assert finished(ImportJob(engine, asked, tmp_path)).state == "done"  # with another engine

    def test_it_can_not_be_started(self, asked: ImportSettings, tmp_path: Path, bare_python: Path) -> None:
        broken = Engine(bare_python, tmp_path / "cache", tmp_path / "log", "cpu", "tiny", os.getpid())
        job = finished(ImportJob(broken, asked, tmp_path))
        assert job.state == "failed"
        assert "press Set Up" in job.error

    def test_its_worker_can_not_be_started(self, asked: ImportSettings, tmp_path: Path) -> None:
        (tmp_path / "worker-0.txt").write_text("Traceback\nModuleNotFoundError: No module named 'torch'\n\n")

        def talk(connection: socket.socket, request: bytes) -> None:
            problem = {"code": "worker", "message": "`tpn doctor` and the log say why."}
            if request.startswith(b"POST"):
                connection.sendall(answer(202, {"id": "ab12"}))
            elif b"/health" in request:
                connection.sendall(answer(200, health(worker={"state": "failing"})))
            else:
                connection.sendall(answer(200, status(state="failed", error=problem)))

        with NastyServer(talk) as server:
            engine = Ready(server)
            engine._log_folder = tmp_path
            job = finished(ImportJob(engine, asked, tmp_path))
            assert job.error.startswith("The engine can't compute: press Doctor")
            assert job.error.endswith("No module named 'torch'")


class TestNastyServers:
    def settled(self, asked: ImportSettings, folder: Path, talk: Callable[[socket.socket, bytes], None]) -> ImportJob:
        with NastyServer(talk) as server:
            return finished(ImportJob(Ready(server), asked, folder))

    @pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"id": 1}', b'{"id": "../.."}'])
    def test_nonsense(self, asked: ImportSettings, tmp_path: Path, content: bytes) -> None:
        for code in (200, 404, 500):
            job = self.settled(asked, tmp_path, answering(code, content))
            assert (job.state, job.result) == ("failed", None)
            assert job.error

    def test_silence(self, asked: ImportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "ANSWER_SECONDS", 0.5)
        assert "does not answer" in self.settled(asked, tmp_path, silent).error

    def test_one_that_ends_again_and_again(self, asked: ImportSettings, tmp_path: Path) -> None:
        job = self.settled(asked, tmp_path, lambda connection, _: None)
        assert "again and again" in job.error

    @pytest.mark.parametrize("state", ["queued", "running"])
    def test_no_progress(
        self, asked: ImportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
    ) -> None:
        monkeypatch.setattr(importing, "STUCK_SECONDS", {"queued": 0.5, "running": 0.5})

        def talk(connection: socket.socket, request: bytes) -> None:
            connection.sendall(answer(200, status(state=state)))

        assert "no progress" in self.settled(asked, tmp_path, talk).error

    @pytest.mark.parametrize("file", [b"mesh.npz", b"crop.png"])
    @pytest.mark.parametrize("trouble", ["silence", "cut", "refusal"])
    def test_files(
        self, asked: ImportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: bytes, trouble: str
    ) -> None:
        monkeypatch.setattr(importing, "FILE_SECONDS", 0.5)
        facts = {"camera": [0.0] * 25, "iso_level": 10.0, "provenance": {}}

        def talk(connection: socket.socket, request: bytes) -> None:
            if file in request and trouble == "silence":
                silent(connection, request)
            elif file in request and trouble == "cut":
                connection.sendall(answer(200, b"x" * 1000)[:500])
            elif file in request:
                connection.sendall(answer(410, {"code": "gone", "message": "The capture is gone."}))
            elif b".npz" in request or b".png" in request:
                connection.sendall(answer(200, b"file"))
            else:
                connection.sendall(answer(200, status(state="done", result=facts)))

        job = self.settled(asked, tmp_path, talk)
        expected = {"silence": "took too long", "cut": "again and again", "refusal": "gone"}[trouble]
        assert (job.state, expected in job.error) == ("failed", True)

    def test_one_that_answers_every_second_time(self, asked: ImportSettings, tmp_path: Path) -> None:
        facts = {"camera": [0.0] * 25, "iso_level": 10.0, "provenance": {}}
        count = 0

        def talk(connection: socket.socket, request: bytes) -> None:
            nonlocal count
            count += 1
            if b".npz" in request or b".png" in request:
                connection.sendall(answer(200, b"file"))
            elif request.startswith(b"POST"):
                connection.sendall(answer(202, {"id": "ab12"}))
            elif count % 2:
                silent(connection, request)
            elif count < 12:
                connection.sendall(answer(200, status(fraction=count / 20)))
            else:
                connection.sendall(answer(200, status(state="done", result=facts)))

        job = self.settled(asked, tmp_path, talk)
        assert (job.state, job.result and job.result.npz.read_bytes()) == ("done", b"file")


def test_errors_carry_a_code_and_a_sentence() -> None:
    error = EngineError("busy", "Wait.")
    assert (error.code, error.message, str(error)) == ("busy", "Wait.", "Wait.")
