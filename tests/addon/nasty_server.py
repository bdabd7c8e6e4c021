"""A server on loopback that does whatever a test wants, and what to wait with."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from service_process import PATIENCE

from blender_addon.engine.connection import Connection
from blender_addon.engine.errors import EngineError

_T = TypeVar("_T")
Conversation = Callable[[socket.socket, bytes], None]  # a connection, and the request's first 64 kB


class NastyServer:
    """Listens on a free port; `talk` is called in a thread of its own for every connection."""

    def __init__(self, talk: Conversation, contract: int = 1) -> None:
        self.requests: list[str] = []
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.connection = Connection(f"http://127.0.0.1:{port}", "token", contract, 1)
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> NastyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._converse, args=(self._listener.accept()[0],), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(PATIENCE)
            request = connection.recv(2**16)
            self.requests.append(request.split(b"\r\n")[0].decode("latin-1"))
            self._talk(connection, request)


def answering(status: int, content: Any) -> Conversation:
    """Reads nothing more, and answers everything the same."""

    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answer(status, content))

    return talk


def silent(connection: socket.socket, _: bytes) -> None:
    """Takes everything in and says nothing, until the other side has had enough."""
    while connection.recv(2**16):
        pass


def answer(status: int, content: Any) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return f"HTTP/1.1 {status} Status\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def health(**changes: Any) -> dict[str, Any]:
    """What a well engine says of itself."""
    values = {"contract": 1, "version": "1", "pid": 1, "device": "cpu", "memory_free": None, "model": "tiny"}
    worker = {"state": "idle", "pid": 2, "restarts": 0}
    return {**values, "worker": worker, "queued": 0, "running": 0, "problem": None, **changes}


def status(**changes: Any) -> dict[str, Any]:
    """What an engine says of a capture that runs."""
    values = {"id": "ab12", "state": "running", "stage": "pivot", "fraction": 0.5, "name": "a", "model": "tiny"}
    others = {"method": "triplanenet", "created": 1.0, "warnings": [], "error": None, "result": None, "preview": None}
    return {**values, **others, **changes}


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def patiently(ask: Callable[[], _T]) -> _T:
    """The answer to a short request on a machine that is busy with other things."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except EngineError as error:
            if error.code != "slow" or time.monotonic() > end:
                raise


def until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Ask again and again; fails when patience ends."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "this never came true"
        time.sleep(0.005)
