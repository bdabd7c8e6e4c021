"""A web server on this machine that behaves as badly as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the server hands out, and how. `breaks` are the numbers of bytes after which each of the first
    connections is cut; `pages` come before the file; `statuses` are answered first."""

    content: bytes
    ranges: bool = True
    etag: str | None = '"one"'
    length: bool = True
    breaks: list[int] = field(default_factory=list)
    pause: float = 0.0
    block: int = 2**16
    statuses: list[int] = field(default_factory=list)
    pages: list[bytes] = field(default_factory=list)
    redirect: str | None = None
    seen: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sent: int = 0


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Yield the address of the server's file."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self, behaviour)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/file"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, behaviour: Behaviour) -> None:
    behaviour.seen.append(dict(handler.headers))
    behaviour.paths.append(handler.path)
    if behaviour.statuses:
        handler.send_error(behaviour.statuses.pop(0))
        return
    if behaviour.redirect:
        handler.send_response(302)
        handler.send_header("Location", behaviour.redirect)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    if behaviour.pages:
        send(handler, behaviour.pages.pop(0), "text/html; charset=utf-8")
        return
    content, start = behaviour.content, 0
    wanted = handler.headers.get("Range")
    unchanged = handler.headers.get("If-Range") in (None, behaviour.etag)
    if wanted and behaviour.ranges and unchanged:
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    else:
        handler.send_response(200)
    if behaviour.etag:
        handler.send_header("ETag", behaviour.etag)
    if behaviour.length:
        handler.send_header("Content-Length", str(len(content) - start))
    else:
        handler.send_header("Connection", "close")
    handler.send_header("Content-Type", "application/octet-stream")
    handler.end_headers()
    stop = start + behaviour.breaks.pop(0) if behaviour.breaks else len(content)
    handler.close_connection = True
    try:
        for place in range(start, min(stop, len(content)), behaviour.block):
            block = content[place : min(place + behaviour.block, stop)]
            handler.wfile.write(block)
            behaviour.sent += len(block)
            time.sleep(behaviour.pause)
    except OSError:
        pass  # the other side has gone


def send(handler: BaseHTTPRequestHandler, content: bytes, kind: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
