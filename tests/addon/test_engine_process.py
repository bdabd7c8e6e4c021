"""The engine's life, with real processes: found, started, shared, restarted, replaced, and never left behind."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from nasty_server import NastyServer, answering, health, patiently, silent, until
from service_process import PATIENCE, wait_until_gone

from blender_addon.engine import process
from blender_addon.engine.connection import Connection
from blender_addon.engine.doctor import DoctorJob
from blender_addon.engine.process import Engine

Make = Callable[..., Engine]


@pytest.fixture
def make(tmp_path: Path, tiny: Path) -> Iterator[Make]:
    """Engines that share a cache folder; all processes of theirs are gone in the end."""
    made: list[Engine] = []
    family: list[psutil.Process] = []

    def begin(**changes: Any) -> Engine:
        values: dict[str, Any] = {
            "python": Path(sys.executable),
            "cache_folder": tmp_path / "cache",
            "log_folder": tmp_path / "log",
            "device": "cpu",
            "model": "synthetic-heads",
            "parent_pid": os.getpid(),
        }
        made.append(Engine(**{**values, **changes}))
        return made[-1]

    yield begin
    for engine in made:
        family += process_family(engine)
        engine.stop(seconds=20.0)
    wait_until_gone(family)


def started(engine: Engine) -> Engine:
    engine.start()
    longest = 0.0
    end = time.monotonic() + PATIENCE
    while engine.state == "starting":
        before = time.perf_counter()
        engine.step()
        longest = max(longest, time.perf_counter() - before)
        assert time.monotonic() < end
        time.sleep(0.01)
    assert longest < 1.0  # 50 ms, and starting a process on a busy machine
    return engine


def process_family(engine: Engine) -> list[psutil.Process]:
    try:
        front = psutil.Process(pid_of(engine))
        return [front, *front.children(recursive=True)]
    except (psutil.NoSuchProcess, AssertionError):
        return []


def pid_of(engine: Engine) -> int:
    assert engine.client is not None
    return engine.client.connection.pid


def publish(folder: Path, number: int, connection: Connection) -> None:
    path = folder / "cache" / f"service-{number}"
    path.mkdir(parents=True, exist_ok=True)
    (path / "connection.json").write_text(json.dumps(vars(connection)))


def test_it_starts_and_ends(make: Make, tmp_path: Path) -> None:
    engine = make()
    assert (engine.state, engine.client) == ("stopped", None)
    started(engine)
    assert (engine.state, engine.error, engine.owned) == ("ready", "", True)
    assert engine.client is not None
    assert patiently(engine.client.health).pid == pid_of(engine)
    assert engine.client.connection.token not in "".join(engine.lines)
    assert engine.log_file.is_file()
    family = process_family(engine)
    engine.stop()
    assert (engine.state, engine.client) == ("stopped", None)
    wait_until_gone(family)
    assert not list(tmp_path.glob("cache/service-*/connection.json"))


def test_two_share_one_and_the_second_starts_its_own_when_that_ends(make: Make) -> None:
    first, second = started(make()), started(make(device="auto"))
    assert pid_of(first) == pid_of(second)
    assert (first.owned, second.owned) == (True, False)
    second.stop()
    assert patiently(first.client.health).contract == 1  # type: ignore[union-attr]
    started(second)
    assert pid_of(first) == pid_of(second)
    family = process_family(first)
    first.stop()
    wait_until_gone(family)
    started(second)
    assert (second.state, second.owned) == ("ready", True)


def test_two_that_start_at_the_same_time_do_not_fight(make: Make) -> None:
    first, second = make(), make()
    first.start()
    second.start()
    while "starting" in (first.state, second.state):
        first.step()
        second.step()
        time.sleep(0.01)
    assert (first.state, second.state) == ("ready", "ready")
    for engine in (first, second):
        assert patiently(engine.client.health).pid == pid_of(engine)  # type: ignore[union-attr]


def test_another_device_or_a_model_of_ones_own_is_not_shared(make: Make, tiny: Path) -> None:
    first, own = started(make()), started(make(model=str(tiny)))
    assert pid_of(first) != pid_of(own)
    assert (own.health and own.health.model) == "tiny"
    other = make(device="cuda")
    until(lambda: patiently(first.client.health).device == "cpu")  # type: ignore[union-attr]
    started(other)
    assert pid_of(other) not in (pid_of(first), pid_of(own))


def test_one_that_died_is_started_again(make: Make) -> None:
    engine = started(make())
    before = pid_of(engine)
    family = process_family(engine)
    os.kill(before, signal.SIGKILL)
    wait_until_gone(family)
    until(lambda: engine.step() or engine.state == "stopped")
    assert "has ended" in engine.error
    started(engine)
    assert engine.state == "ready"
    assert pid_of(engine) != before


def test_one_that_died_unseen_is_started_again(make: Make) -> None:
    engine = started(make())
    os.kill(pid_of(engine), signal.SIGKILL)
    started(engine)
    assert engine.state == "ready"
    assert patiently(engine.client.health).pid == pid_of(engine)  # type: ignore[union-attr]


def test_one_that_hangs_is_replaced(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "CHECK_SECONDS", 0.5)
    engine = started(make())
    family = process_family(engine)
    os.kill(pid_of(engine), signal.SIGSTOP)
    started(engine)
    assert engine.state == "ready"
    assert pid_of(engine) not in [member.pid for member in family]
    wait_until_gone(family)


def test_one_that_hangs_can_be_stopped(make: Make) -> None:
    engine = started(make())
    family = process_family(engine)
    os.kill(pid_of(engine), signal.SIGSTOP)
    engine.stop()
    wait_until_gone(family)


def test_stopping_while_it_starts(make: Make) -> None:
    engine = make()
    engine.start()
    engine.step()
    engine.step()
    assert engine.owned
    engine.stop(seconds=20.0)
    assert engine.state == "stopped"
    engine.step()
    assert engine.state == "stopped"


def test_it_ends_with_its_parent(make: Make) -> None:
    blender = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    engine = started(make(parent_pid=blender.pid))
    family = process_family(engine)
    blender.kill()
    blender.wait()
    killed = time.monotonic()
    wait_until_gone(family)
    assert time.monotonic() - killed < 10.0


def test_strangers_are_left_alone(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOOK_SECONDS", 0.3)
    with (
        NastyServer(answering(404, b"Not Found")) as other,
        NastyServer(answering(200, health(contract=2))) as newer,
        NastyServer(answering(200, health()), contract=2) as newer_handshake,
        NastyServer(answering(200, health(worker={"state": "failing"}))) as failing,
        NastyServer(silent) as hanging,
        NastyServer(lambda connection, _: connection.sendall(b"\0" * 100)) as garbage,
    ):
        servers = (other, newer, newer_handshake, failing, hanging, garbage)
        for number, server in enumerate(servers, 3):
            publish(tmp_path, number, server.connection)
        publish(tmp_path, 9, Connection("http://127.0.0.1:1", "stale", 1, 1))
        engine = started(make())
        assert (engine.state, engine.owned) == ("ready", True)
        assert not newer_handshake.requests
        assert all(request.startswith("GET /v1/health") for server in servers for request in server.requests)


def test_one_that_runs_is_found_among_strangers(make: Make, tmp_path: Path) -> None:
    with NastyServer(answering(200, health())) as ours, NastyServer(answering(404, b"")) as other:
        publish(tmp_path, 0, other.connection)
        publish(tmp_path, 1, ours.connection)
        engine = started(make())
        assert (engine.state, engine.owned) == ("ready", False)
        engine.stop()
        assert not any("shutdown" in request for request in ours.requests)


class TestFailures:
    def test_no_python(self, make: Make, tmp_path: Path) -> None:
        engine = started(make(python=tmp_path / "nowhere" / "python"))
        assert engine.state == "failed"
        assert "Press Set Up" in engine.error

    def test_a_python_without_the_engine(self, make: Make, bare_python: Path) -> None:
        engine = started(make(python=bare_python))
        assert engine.state == "failed"
        assert "press Set Up" in engine.error
        assert "No module named" in engine.error
        engine.start()
        assert engine.state == "starting"

    def test_a_program_that_says_something_else(self, make: Make, tmp_path: Path) -> None:
        for line, expected in (
            ("all is lost", "It said: all is lost"),
            ('{"url": "http://evil.example", "token": "a", "contract": 1, "pid": 1}', "could not be started"),
            ('{"url": "http://127.0.0.1:1", "token": "a", "contract": 2, "pid": 1}', "press Update"),
            ('{"url": "http://127.0.0.1:1", "token": "a", "contract": 1, "pid": 1}', "could not be started"),
        ):
            program = tmp_path / "program"
            program.write_text(f"#!/bin/sh\necho '{line}'\n")
            program.chmod(0o700)
            engine = started(make(python=program))
            assert engine.state == "failed"
            assert expected in engine.error

    def test_a_cache_folder_that_can_not_be_made(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        engine = started(make(cache_folder=tmp_path / "file" / "cache"))
        assert engine.state == "failed"
        assert "choose another one" in engine.error

    def test_a_program_that_says_nothing(self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "START_SECONDS", 0.3)
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\nexec sleep 1000\n")
        program.chmod(0o700)
        engine = started(make(python=program))
        assert engine.state == "failed"
        assert "did not start within" in engine.error


class TestDoctor:
    def test_sentences(self, tiny: Path) -> None:
        job = DoctorJob(Path(sys.executable))
        until(job.step)
        assert (job.state, job.error) == ("done", "")
        assert any("tpn-engine" in line for line in job.lines)

    def test_a_python_without_the_engine(self, bare_python: Path, tmp_path: Path) -> None:
        for python in (bare_python, tmp_path / "nowhere" / "bin" / "python"):
            job = DoctorJob(python)
            until(job.step)
            assert job.state == "failed"
            assert "press" in job.error.lower()
        assert not (tmp_path / "nowhere").exists()

    def test_cancelled(self) -> None:
        job = DoctorJob(Path(sys.executable))
        job.cancel()
        assert (job.step(), job.state) == (True, "cancelled")


def test_nothing_in_here_knows_blender() -> None:
    folder = Path(process.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert all(name.split(".")[0] in sys.stdlib_module_names for name in names), path.name
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), path.name
