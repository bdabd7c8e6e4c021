"""How services begin, what they leave for the next, and that nothing of them is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import service_photos as photos
from service_process import PATIENCE, ServiceProcess, eventually, wait_until_gone

Start = Callable[..., ServiceProcess]


@pytest.fixture
def start(tmp_path: Path, weights: Path) -> Iterator[Start]:
    """Starts services that use the same folders."""
    started: list[ServiceProcess] = []

    def begin(*options: str, model: Path = weights, folder: Path = tmp_path) -> ServiceProcess:
        started.append(ServiceProcess(folder, model, *options))
        return started[-1]

    yield begin
    for service in started:
        service.end()


def test_the_handshake_is_one_line(start: Start) -> None:
    service = start()
    assert set(service.connection) == {"url", "token", "contract", "pid"}
    assert service.connection["url"] == f"http://127.0.0.1:{service.port}"
    assert (service.connection["contract"], service.connection["pid"]) == (1, service.process.pid)
    assert len(service.connection["token"]) >= 40
    service.post("/v1/shutdown")
    out, err = service.process.communicate(timeout=PATIENCE)
    assert (service.process.returncode, out, err) == (0, "", "")


def test_results_and_queue_survive_a_killed_service(start: Start) -> None:
    first = start()
    done = first.submit(photos.portrait(), "?name=done")
    assert first.over(done)["state"] == "done"
    running, waiting = first.submit(photos.slow(), "?name=running"), first.submit(photos.tiny(), "?name=waiting")
    first.reached(running, lambda status: status["state"] == "running")
    family = first.family()
    assert len(family) >= 2
    first.kill()
    wait_until_gone(family)

    second = start()
    assert second.connection["token"] != first.connection["token"]
    assert (second.status(done)["state"], second.status(done)["name"]) == ("done", "done")
    assert second.over(running)["error"]["code"] == "no_face"
    assert second.over(waiting)["error"]["code"] == "face_too_small"
    again = second.submit(photos.portrait())
    assert second.status(again)["state"] == "done"
    assert second.get(f"/v1/captures/{done}/crop.png").status == 200


def test_damaged_records_are_forgotten(start: Start, tmp_path: Path) -> None:
    jobs = tmp_path / "cache" / "service-0" / "jobs"
    jobs.mkdir(parents=True)
    for number, content in enumerate((b"", b"{}", b"[1]", b"\xff", b'{"id": 1}')):
        (jobs / f"{number}.json").write_bytes(content)
    (jobs / "aa.photo").write_bytes(b"of no job")
    service = start()
    assert service.health()["queued"] == 0
    assert not list(jobs.iterdir())


def test_captures_are_evicted_when_they_are_too_many(start: Start) -> None:
    service = start("--cache-size", "0.001")
    first = service.submit(photos.portrait())
    assert service.over(first)["state"] == "done"
    second = service.submit(photos.other_portrait())
    assert service.over(second)["state"] == "done"
    eventually(lambda: len(list((service.cache_folder / "captures").glob("*.capture"))) == 1)
    answer = service.get(f"/v1/captures/{first}/crop.png")
    assert (answer.status, answer.json["code"]) == (410, "gone")
    assert service.get(f"/v1/captures/{second}/crop.png").status == 200


def test_it_ends_with_its_parent(tmp_path: Path, weights: Path) -> None:
    """The parent is no parent to the system, as when a launcher stands between Blender and Python."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    service = ServiceProcess(tmp_path, weights, "--parent-pid", str(parent.pid))
    family = service.family()
    parent.kill()  # and not collected: a zombie counts as ended
    service.process.communicate(timeout=PATIENCE)
    parent.communicate()
    wait_until_gone(family)
    assert "its parent has ended" in service.log()
    assert not (service.cache_folder / "service-0" / "connection.json").exists()


def test_it_does_not_outlive_a_parent_that_is_gone_already(tmp_path: Path, weights: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    service = ServiceProcess(tmp_path, weights, "--parent-pid", str(parent.pid))
    service.process.communicate(timeout=PATIENCE)
    assert service.process.returncode == 0


def test_it_ends_when_nobody_asks_any_more(tmp_path: Path, weights: Path) -> None:
    service = ServiceProcess(tmp_path, weights, "--idle-minutes", "0.002")
    family = service.family()
    service.process.communicate(timeout=PATIENCE)
    wait_until_gone(family)
    assert service.process.returncode == 0
    assert "nobody asked" in service.log()


def test_a_signal_ends_it_and_its_streams(tmp_path: Path, weights: Path) -> None:
    service = ServiceProcess(tmp_path, weights)
    id = service.submit(photos.slow())
    events = service.events(id)
    next(events)
    family = service.family()
    psutil.Process(service.process.pid).terminate()
    list(events)
    service.process.communicate(timeout=PATIENCE)
    wait_until_gone(family)


def test_two_services_share_a_folder_and_nothing_else(start: Start) -> None:
    first, second = start(), start()
    assert first.port != second.port
    id = first.submit(photos.tiny())
    assert second.get(f"/v1/captures/{id}").status == 404
    stranger = {"Authorization": f"Bearer {first.connection['token']}"}
    assert second.ask("GET", "/v1/health", headers=stranger).status == 401
    published = [json.loads(path.read_text()) for path in sorted(first.cache_folder.glob("*/connection.json"))]
    assert published == [first.connection, second.connection]


def test_a_port_that_is_taken(start: Start, tmp_path: Path, weights: Path) -> None:
    port = str(start().port)
    command = [sys.executable, "-m", "server", "--port", port, "--model", str(weights), "--cache-folder", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert port in ended.stderr


def test_a_cache_folder_that_can_not_be_written(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    service = start("--cache-folder", str(tmp_path / "file" / "cache"))
    assert "can't be written to" in service.health()["problem"]
    answer = service.post("/v1/captures", photos.portrait())
    assert (answer.status, answer.json["code"]) == (507, "file")
    assert service.get("/v1/models").status == 200


def test_models_that_are_damaged_or_missing(start: Start, tmp_path: Path, weights: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:-1])
    damaged.with_suffix(".json").write_text(weights.with_suffix(".json").read_text())
    service = start(model=damaged)
    last = service.over(service.submit(photos.portrait()))
    assert (last["state"], last["error"]["code"]) == ("failed", "model")
    damaged.with_suffix(".json").write_text("{}")
    answer = service.post("/v1/captures", photos.portrait())
    assert (answer.status, answer.json["code"]) == (409, "model")
    damaged.unlink()
    answer = service.post("/v1/captures", photos.portrait())
    assert (answer.status, answer.json["code"]) == (409, "model")
    assert service.health()["queued"] == 0


def test_a_device_that_is_not_there(start: Start) -> None:
    service = start("--device", "cuda:99")
    last = service.over(service.submit(photos.tiny()))
    assert (last["state"], last["error"]["code"]) == ("failed", "device")
    assert "cuda:99" in service.health()["problem"]
