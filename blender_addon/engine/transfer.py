# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request and its answer, over a socket that never blocks."""

from __future__ import annotations

import errno
import re
import selectors
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from .answers import bad_answer, parse_failure
from .connection import Connection
from .errors import EngineError

BLOCK = 2**18  # bytes sent or received at once
HEAD_LIMIT = 2**16  # bytes of an answer's status line and headers
JSON_LIMIT = 2**22  # bytes of an answer that is read whole
FILE_LIMIT = 2**31  # bytes of a file

_CONNECTING = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: .*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")


class Answer:
    """An HTTP answer as its bytes come in; `length` is of the body, None until the headers are there.

    Raises EngineError "bad_answer" for anything else than an answer with a known length of at most
    `limit` bytes, and "unreachable" where it ends too early.
    """

    def __init__(self, limit: int) -> None:
        self.status = 0
        self.length: int | None = None
        self._limit = limit
        self._bytes = bytearray()

    @property
    def complete(self) -> bool:
        return self.length is not None and len(self._bytes) >= self.length

    @property
    def received(self) -> int:
        """Bytes of the body so far."""
        return 0 if self.length is None else len(self._bytes)

    @property
    def body(self) -> bytes:
        return bytes(memoryview(self._bytes)[: self.length])

    def feed(self, data: bytes) -> None:
        """Take in what was received; b"" is its end."""
        if not data and not self.complete:
            raise EngineError("unreachable", "The engine's answer broke off: try again.")
        self._bytes += data
        if self.length is None:
            self._read_head()
        if self.length is not None and len(self._bytes) > self.length:
            raise bad_answer()

    def _read_head(self) -> None:
        end = self._bytes.find(b"\r\n\r\n", 0, HEAD_LIMIT + 4)
        if end < 0:
            if len(self._bytes) > HEAD_LIMIT or not self._bytes.startswith(b"HTTP/1."[: len(self._bytes)]):
                raise bad_answer()
            return
        line, *lines = bytes(self._bytes[:end]).split(b"\r\n")
        match = _STATUS_LINE.fullmatch(line)
        if match is None or int(match[1]) < 200:
            raise bad_answer()
        lengths: list[bytes] = []
        for line in lines:
            header = _HEADER.fullmatch(line)
            if header is None or header[1].lower() == b"transfer-encoding":
                raise bad_answer()
            if header[1].lower() == b"content-length":
                lengths.append(header[2])
        self.status = int(match[1])
        self.length = 0 if self.status == 204 and not lengths else self._read_length(lengths)
        del self._bytes[: end + 4]

    def _read_length(self, lengths: list[bytes]) -> int:
        if len(lengths) != 1 or re.fullmatch(rb"[0-9]{1,15}", lengths[0]) is None:
            raise bad_answer()
        length = int(lengths[0])
        if length > self._limit:
            raise EngineError("too_large", "The engine's answer is too large: choose a lower resolution.")
        return length


class Transfer:
    """A request on its way. `step` it until it is True; then `body` holds the answer."""

    def __init__(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        limit: int = JSON_LIMIT,
    ) -> None:
        target = f"{path}?{urlencode(query, errors='replace')}" if query else path
        head = (
            f"{method} {target} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{connection.port}\r\n"
            f"Authorization: Bearer {connection.token}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self._rest = memoryview(head.encode("ascii") + body)
        self._total = len(self._rest) if body else 0
        self._answer = Answer(limit)
        self._finished = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._selector = selectors.DefaultSelector()
        try:
            self._socket.setblocking(False)
            code = self._socket.connect_ex(("127.0.0.1", connection.port))
            if code not in _CONNECTING:
                raise OSError(code, "refused")
            self._connected = code == 0
            self._selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        except OSError as error:
            self.close()
            raise _unreachable() from error

    @property
    def sent(self) -> bool:
        """Whether the engine has the whole request, as far as we know."""
        return not self._rest

    @property
    def moved(self) -> int:
        """Bytes sent and received so far: as long as this grows, the engine lives."""
        return self._answer.received - len(self._rest)

    @property
    def fraction(self) -> float:
        """In [0, 1]: of the body sent if the request has one, of the answer's body otherwise."""
        if self._finished:
            return 1.0
        if self._total:
            return 1 - len(self._rest) / self._total
        return self._answer.received / self._answer.length if self._answer.length else 0.0

    @property
    def body(self) -> bytes:
        """The answer's body, once finished."""
        return self._answer.body

    def step(self, seconds: float) -> bool:
        """Go on for so long at most; whether the answer is complete.

        Raises EngineError: "unreachable", "bad_answer", "too_large", or the service's own; the transfer is
        closed then.
        """
        if self._finished:
            return True
        try:
            end = time.monotonic() + seconds
            while not self._answer.complete:
                ready = self._selector.select(max(0.0, end - time.monotonic()))
                self._move(ready[0][1] if ready else 0)
                if time.monotonic() >= end:
                    break
            if not self._answer.complete:
                return False
        except BaseException:
            self.close()
            raise
        self.close()
        self._finished = True
        if not 200 <= self._answer.status < 300:
            raise parse_failure(self._answer.status, self._answer.body)
        return True

    def close(self) -> None:
        """Break off, if it is not finished; the engine stops what it does for this request."""
        self._selector.close()
        self._socket.close()

    def _move(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send()
        if events & selectors.EVENT_READ:
            self._receive()

    def _send(self) -> None:
        try:
            if not self._connected:
                error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise _unreachable()
                self._connected = True
            self._rest = self._rest[self._socket.send(self._rest[:BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            # A request may be refused before its end; the reason is in the answer, if there is one.
            self._rest = self._rest[:0]
        if not self._rest:
            self._selector.modify(self._socket, selectors.EVENT_READ)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError as error:
            raise _unreachable() from error
        self._answer.feed(data)


def _unreachable() -> EngineError:
    return EngineError("unreachable", "The engine can't be reached: it has ended.")
