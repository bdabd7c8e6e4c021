"""Minutes of kills, crowds and nonsense: nothing hangs, nothing is lost, nothing is left. `make soak` runs it."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import service_photos as photos
from service_process import PATIENCE, ServiceProcess, eventually

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.fixture
def service(tmp_path: Path, weights: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path, weights)
    yield running
    running.end()


def settled(service: ServiceProcess) -> bool:
    health = service.health()
    return health["worker"]["state"] == "idle" and health["queued"] == health["running"] == 0


def memory(service: ServiceProcess) -> int:
    return sum(process.memory_info().rss for process in service.family())


def test_kills_at_random_moments(service: ServiceProcess) -> None:
    rng = random.Random(0)
    outcomes = []
    for number in range(20):
        eventually(lambda: settled(service))
        worker = psutil.Process(service.health()["worker"]["pid"])
        id = service.submit(photos.portrait(), f"?face=0&name={number}" if number % 2 else f"?name={number}")
        wanted = rng.choice(["starting", "loading", "reading", "finding", "aligning", "matting", "pivot", "refinement"])
        service.reached(id, lambda status, wanted=wanted: status["stage"].startswith(wanted))
        worker.kill()
        last = service.over(id)
        outcomes.append(last["state"])
        assert last["state"] == "done" or last["error"]["code"] == "worker"
        assert service.over(service.submit(photos.tiny()))["error"]["code"] == "face_too_small"
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
        service.delete(f"/v1/captures/{id}")
        for path in (service.cache_folder / "captures").glob("*"):
            path.unlink()
    assert "failed" in outcomes
    front = psutil.Process(service.process.pid)
    eventually(lambda: settled(service))
    names = [process.name() for process in front.children(recursive=True)]
    assert len(names) == 2, names  # the worker, and multiprocessing's tracker of shared resources


def test_a_crowd(service: ServiceProcess) -> None:
    service.over(service.submit(photos.portrait()))
    before = memory(service)
    kinds = [photos.portrait(), photos.other_portrait(), photos.tiny(), photos.bomb(), photos.without_a_face()]
    kinds += [photos.portrait()[:3000], b"\xff\xd8\xff" + bytes(1000), b"GIF89a" + bytes(50)]

    def client(number: int) -> list[str]:
        rng = random.Random(number)
        states = []
        for _ in range(10):
            id = service.submit(rng.choice(kinds), "?level=true" if rng.random() < 0.2 else "")
            if rng.random() < 0.1:
                service.delete(f"/v1/captures/{id}")
                continue
            last = service.over(id)
            states.append(last["state"])
            if last["state"] == "done":
                assert service.get(f"/v1/captures/{id}/mesh.npz?resolution=24").status == 200
            else:
                assert last["error"]["message"]
        return states

    with ThreadPoolExecutor(50) as pool:
        states = [state for states in pool.map(client, range(50)) for state in states]
    assert set(states) <= {"done", "failed"}
    assert service.health()["worker"]["restarts"] == 0
    gc.collect()
    eventually(lambda: settled(service))
    assert memory(service) < before * 1.1


def test_random_bodies(service: ServiceProcess) -> None:
    rng = random.Random(0)
    whole = [photos.portrait(), photos.tiny(), photos.bomb()]
    ids = []
    for number in range(1000):
        body = bytearray(rng.choice(whole))
        match number % 4:
            case 0:
                body = bytearray(rng.randbytes(rng.randrange(5000)))
            case 1:
                body = body[: rng.randrange(len(body))]
            case 2:
                for _ in range(rng.randrange(1, 50)):
                    body[rng.randrange(len(body))] = rng.randrange(256)
            case 3:
                start = rng.randrange(len(body))
                body[start : start + rng.randrange(500)] = rng.randbytes(rng.randrange(500))
        answer = service.post("/v1/captures", bytes(body))
        assert answer.status in (202, 415), answer.body
        if answer.status == 202:
            ids.append(answer.json["id"])
            if len(ids) % 50 == 0:
                service.over(ids[-1])
    states = [service.over(id) for id in ids]
    assert all(status["state"] in ("done", "failed") for status in states)
    assert not any(status["error"] and status["error"]["code"] in ("internal", "worker") for status in states)
    assert service.health()["worker"]["restarts"] == 0


def test_requests_made_from_the_description(service: ServiceProcess) -> None:
    service.over(service.submit(photos.portrait()))
    schemathesis = Path(sys.executable).with_name("schemathesis")
    command = [str(schemathesis), "run", f"{service.connection['url']}/v1/openapi.json"]
    command += ["--header", f"Authorization: Bearer {service.connection['token']}"]
    command += ["--exclude-path", "/v1/shutdown", "--exclude-path", "/v1/release", "--seed", "1"]
    # A schema can't say which bytes are a photo, and a cancelled job is still told about.
    command += ["--exclude-checks", "positive_data_acceptance,use_after_free"]
    command += ["--max-examples", "60", "--request-timeout", "60"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 10, check=False)
    assert ended.returncode == 0, ended.stdout
    assert service.health()["worker"]["restarts"] == 0
