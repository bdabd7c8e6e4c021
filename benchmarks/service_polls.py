"""How long a poll of the service takes while the worker computes at full load, beside an idle worker's.

python benchmarks/service_polls.py [--model FILE.safetensors] PHOTO
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

POLLS = 2000
PAUSE = 0.01  # seconds between polls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo")
    parser.add_argument("--model", default="synthetic-heads")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "server", "--model", given.model, "--cache-folder", folder]
        command += ["--log-folder", folder]
        service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert service.stdout is not None
        ask = asker(json.loads(service.stdout.readline()))
        with open(given.photo, "rb") as file:
            id = ask("POST", "/v1/captures", file.read())["id"]
        path = f"/v1/captures/{id}"
        while ask("GET", path)["state"] != "done":
            time.sleep(0.1)
        print_times("worker idle", ask, path)
        busy = threading.Thread(target=lambda: ask("GET", f"{path}/turntable.mp4?frames=1000&size=512"), daemon=True)
        busy.start()
        while ask("GET", "/v1/health")["worker"]["state"] != "busy":
            time.sleep(0.1)
        print_times("worker busy", ask, path)
        ask("POST", "/v1/shutdown")
        service.wait()


def asker(connection: dict[str, Any]) -> Callable[..., Any]:
    """A client that opens a connection for each request, as the add-on's does."""
    port = int(connection["url"].rpartition(":")[2])

    def ask(method: str, path: str, body: bytes | None = None) -> Any:
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request(method, path, body, {"Authorization": f"Bearer {connection['token']}"})
        response = client.getresponse()
        content = response.read()
        client.close()
        return json.loads(content) if content.startswith((b"{", b"[")) else content

    return ask


def print_times(title: str, ask: Callable[..., Any], path: str) -> None:
    times = []
    for _ in range(POLLS):
        started = time.perf_counter()
        ask("GET", path)
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(PAUSE)
    median, late = np.percentile(times, [50, 99])
    print(f"{title}: median {median:.2f} ms, p99 {late:.2f} ms, longest {max(times):.1f} ms of {POLLS} polls")


if __name__ == "__main__":
    main()
