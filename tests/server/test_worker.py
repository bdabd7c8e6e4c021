"""The worker may be killed, starved of memory or of disk at any moment: its job fails, the service lives."""

from __future__ import annotations

import http.client
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import service_photos as photos
from service_process import ServiceProcess, eventually


@pytest.fixture(scope="module")
def done(service: ServiceProcess) -> str:
    id = service.submit(photos.portrait())
    assert service.over(id)["state"] == "done"
    return id


def worker(service: ServiceProcess) -> psutil.Process:
    return psutil.Process(service.health()["worker"]["pid"])


def idle(service: ServiceProcess) -> bool:
    return service.health()["worker"]["state"] == "idle"


@contextmanager
def limited(process: psutil.Process, kind: int, limit: int) -> Iterator[None]:
    """The system refuses the process more than so much of something."""
    before = resource.prlimit(process.pid, kind)
    resource.prlimit(process.pid, kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, kind, before)


def test_killed_while_it_makes_a_capture(service: ServiceProcess) -> None:
    running, waiting = service.submit(photos.slow()), service.submit(photos.tiny())
    service.reached(running, lambda status: status["stage"] == "finding the face")
    first = worker(service)
    first.kill()
    last = service.over(running)
    assert (last["state"], last["error"]["code"]) == ("failed", "worker")
    assert "SIGKILL" in last["error"]["message"]
    answer = service.get(f"/v1/captures/{running}/mesh.npz")
    assert (answer.status, answer.json["code"]) == (503, "worker")
    assert service.over(waiting)["error"]["code"] == "face_too_small"
    assert worker(service).pid != first.pid
    assert service.health()["worker"]["restarts"] == 1


def test_killed_while_a_fit_is_watched(service: ServiceProcess) -> None:
    id = service.submit(photos.other_portrait(), "?method=latent&seconds=600")
    service.reached(id, lambda status: status["preview"] is not None)
    assert list(service.cache_folder.rglob("*.preview.png"))
    worker(service).kill()
    assert service.over(id)["error"]["code"] == "worker"
    assert not list(service.cache_folder.rglob("*.preview.png"))


def test_killed_while_it_makes_a_film_and_while_it_starts(service: ServiceProcess, done: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        film = pool.submit(service.get, f"/v1/captures/{done}/turntable.mp4?frames=1000&size=512")
        eventually(lambda: service.health()["worker"]["state"] == "busy")
        worker(service).kill()
        answer = film.result()
    assert (answer.status, answer.json["code"]) == (503, "worker")
    eventually(lambda: psutil.pid_exists(service.health()["worker"]["pid"]))
    worker(service).kill()  # the next one, while it starts
    assert service.get(f"/v1/captures/{done}/mesh.npz?resolution=40").status == 200
    assert not list((service.cache_folder / "captures").glob("*turntable*"))


def test_a_client_that_leaves_stops_the_work(service: ServiceProcess, done: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", f"/v1/captures/{done}/turntable.mp4?frames=999&size=512", headers=service.headers())
    eventually(lambda: service.health()["worker"]["state"] == "busy")
    pid = worker(service).pid
    connection.close()
    eventually(lambda: idle(service))
    assert worker(service).pid == pid


def test_release_gives_the_memory_back(service: ServiceProcess, done: str) -> None:
    before = worker(service)
    with ThreadPoolExecutor(1) as pool:
        view = pool.submit(service.get, f"/v1/captures/{done}/view.png?size=400")
        eventually(lambda: service.health()["worker"]["state"] == "busy" or view.done())
        answer = service.post("/v1/release")
        assert view.done() or (answer.status, answer.json["code"]) == (409, "busy")
        view.result()
    eventually(lambda: idle(service))
    assert service.post("/v1/release").json == {"released": True}
    before.wait(60)
    assert service.get(f"/v1/captures/{done}/mesh.npz?resolution=44").status == 200
    assert worker(service).pid != before.pid


def test_out_of_memory_is_a_sentence(service: ServiceProcess, done: str) -> None:
    assert service.get(f"/v1/captures/{done}/mesh.npz?resolution=36").status == 200
    starved = worker(service)
    path = f"/v1/captures/{done}/mesh.npz?resolution=1000"
    with limited(starved, resource.RLIMIT_AS, starved.memory_info().vms + 1000 * 2**20):
        answer = service.get(path)
        assert (answer.status, answer.json["code"]) == (503, "device")
        assert "ran out of memory" in answer.json["message"]
        again = service.submit(photos.tiny())
        assert service.over(again)["error"]["code"] == "face_too_small"
    assert service.get(f"/v1/captures/{done}/mesh.npz?resolution=52").status == 200
    assert worker(service).pid == starved.pid


def test_a_full_disk_is_a_sentence(service: ServiceProcess, done: str) -> None:
    with limited(worker(service), resource.RLIMIT_FSIZE, 1000):
        answer = service.get(f"/v1/captures/{done}/mesh.npz?resolution=56")
        assert (answer.status, answer.json["code"]) == (507, "file")
        failed = service.over(service.submit(photos.other_portrait()))
        assert (failed["state"], failed["error"]["code"]) == ("failed", "file")
    with limited(psutil.Process(service.process.pid), resource.RLIMIT_FSIZE, 1000):
        answer = service.post("/v1/captures", photos.other_portrait())
        assert (answer.status, answer.json["code"]) == (507, "file")
    assert not list((service.cache_folder / "captures").glob(".*"))
    assert service.get(f"/v1/captures/{done}/mesh.npz?resolution=56").status == 200
    assert service.over(service.submit(photos.other_portrait()))["state"] == "done"


def test_polls_do_not_wait_for_the_worker(service: ServiceProcess, done: str) -> None:
    stop = threading.Event()

    def compute() -> None:
        size = 100
        while not stop.is_set():
            size += 2
            service.get(f"/v1/captures/{done}/view.png?size={size}")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(compute)
        eventually(lambda: service.health()["worker"]["state"] == "busy")
        for _ in range(50):
            assert service.status(done)["state"] == "done"
        stop.set()


def test_a_damaged_capture_is_made_anew(service: ServiceProcess, done: str) -> None:
    for path in (service.cache_folder / "captures").glob("*.capture"):
        content = bytearray(path.read_bytes())
        content[-5000] ^= 255
        path.write_bytes(content)
    eventually(lambda: idle(service))
    service.post("/v1/release")
    answer = service.get(f"/v1/captures/{done}/mesh.npz?resolution=60")
    assert (answer.status, answer.json["code"]) == (410, "gone")
    again = service.submit(photos.portrait())
    assert service.over(again)["state"] == "done"
    assert service.get(f"/v1/captures/{done}/mesh.npz?resolution=60").status == 200


def test_what_libraries_print_does_not_follow_the_handshake(service: ServiceProcess, done: str) -> None:
    """It goes to a file: nobody may be reading the pipe any more."""
    for descriptor in (1, 2):
        printed = Path(f"/proc/{worker(service).pid}/fd/{descriptor}").resolve()
        assert printed == service.log_folder / "worker-0.txt"
