"""A service in a process of its own, and the plainest client for it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 240.0  # seconds after which a test has failed; nothing here waits so long where it works


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ServiceProcess:
    """`python -m server` on a free port, with folders of its own."""

    def __init__(
        self, folder: Path, model: str | Path, *options: str, environment: dict[str, str] | None = None
    ) -> None:
        self.cache_folder = folder / "cache"
        self.log_folder = folder / "log"
        self.command = [sys.executable, "-m", "server", "--model", str(model), "--device", "cpu"]
        self.command += ["--cache-folder", str(self.cache_folder), "--log-folder", str(self.log_folder), *options]
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.connection: dict[str, Any] = json.loads(line)
        self.port = int(self.connection["url"].rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        """Stop it, and see that no process of it is left."""
        family = self.family()
        if self.process.poll() is None:
            self.post("/v1/shutdown")
        self.process.communicate(timeout=PATIENCE)
        wait_until_gone(family)

    def family(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        try:
            front = psutil.Process(self.process.pid)
            return [front, *front.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.connection['token']}"}

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, self.headers() if headers is None else headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: bytes | None = None) -> Answer:
        return self.ask("POST", path, body)

    def delete(self, path: str) -> Answer:
        return self.ask("DELETE", path)

    def submit(self, photo: bytes, query: str = "") -> str:
        answer = self.post(f"/v1/captures{query}", photo)
        assert answer.status == 202, answer.body
        return answer.json["id"]

    def status(self, id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/captures/{id}")
        assert answer.status == 200, answer.body
        return answer.json

    def events(self, id: str) -> Iterator[dict[str, Any]]:
        """The statuses of a job as the service tells them, until it is over."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"/v1/captures/{id}/events", headers=self.headers())
            response = connection.getresponse()
            assert response.status == 200
            assert response.getheader("content-type", "").startswith("text/event-stream")
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            connection.close()

    def over(self, id: str) -> dict[str, Any]:
        """The last status of a job."""
        *_, last = self.events(id)
        return last

    def reached(self, id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status that fulfils the condition, or the last."""
        for status in self.events(id):
            if condition(status):
                return status
        return status

    def health(self) -> dict[str, Any]:
        answer = self.get("/v1/health")
        assert answer.status == 200, answer.body
        return answer.json

    def log(self) -> str:
        return (self.log_folder / "service.log").read_text(encoding="utf-8")


def wait_until_gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive


def eventually(condition: Callable[[], bool]) -> None:
    """For what no event tells of."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
