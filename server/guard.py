"""What stands before every request: who may ask, from where, and how much they may send."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.protocol import BODY_LIMIT, STATUS, UPLOAD_LIMIT, ServiceError

UPLOAD_PATH = "/v1/captures"

PIECE_SECONDS = 20.0  # for the next bytes of a body
BODY_SECONDS = 300.0  # for all of them
LINGER_SECONDS = 2.0  # in which an unwanted body is thrown away, so that its sender gets to read the answer

_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

_log = logging.getLogger("tpn.server.requests")


@dataclass
class Activity:
    """When this service was last needed."""

    open_requests: int = 0
    last: float = field(default_factory=time.monotonic)


class Guard:
    """Lets a request through to `app` if it knows the token, means this service and comes from no web page."""

    def __init__(self, app: ASGIApp, *, token: str, port: int, activity: Activity) -> None:
        self._app = app
        self._authorization = f"Bearer {token}".encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        self._origins = {b"http://" + host for host in self._hosts}
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(receive, send)
        code = ""
        try:
            self._check(scope)
            await self._admit(scope, exchange)
        except ServiceError as error:
            code = f" refused: {error.code}"
            await _refuse(error, exchange.send)
        finally:
            milliseconds = (time.perf_counter() - started) * 1000
            path = scope["path"][:200].encode("unicode_escape").decode()
            level = logging.WARNING if code else logging.INFO
            _log.log(level, "%s %s %d %.1f ms%s", scope["method"], path, exchange.status, milliseconds, code)

    def _check(self, scope: Scope) -> None:
        """Raises ServiceError."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise ServiceError("forbidden", "This service answers to its own address only.")
        if any(origin not in self._origins for origin in headers.get(b"origin", [])):
            raise ServiceError("forbidden", "This service does not answer to web pages.")
        given = headers.get(b"authorization", [])
        if len(given) != 1 or not hmac.compare_digest(given[0], self._authorization):
            raise ServiceError("unauthorized", "The token is missing or wrong: use the one this service printed.")
        limit = UPLOAD_LIMIT if _is_upload(scope) else BODY_LIMIT
        if any(int(length) > limit for length in headers.get(b"content-length", [])):
            raise _too_large(limit)

    async def _admit(self, scope: Scope, exchange: _Exchange) -> None:
        self._activity.open_requests += 1
        try:
            if not _is_upload(scope):
                async for _ in limited_body(exchange.receive, BODY_LIMIT):
                    pass  # nothing but a photo needs a body
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._activity.open_requests -= 1
            self._activity.last = time.monotonic()


class _Exchange:
    """One request and its answer; an answer that comes before the body's end closes the connection gently."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.status = 0
        self._receive = receive
        self._send = send
        self._body_ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            close = [] if self._body_ended else [(b"connection", b"close")]
            message["headers"] = [*message.get("headers", []), *_HEADERS, *close]
        elif not self._body_ended and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        """Closing with unread bytes resets the connection and destroys the answer on its way."""
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._throw_away(), LINGER_SECONDS)

    async def _throw_away(self) -> None:
        while not self._body_ended:
            await self.receive()


async def limited_body(receive: Receive, limit: int) -> AsyncIterator[bytes]:
    """The pieces of a request's body as they come.

    Raises ServiceError: "too_large" as soon as there are more than `limit` bytes, "timeout" for a sender
    that stops, dawdles or is gone.
    """
    total, end, more = 0, time.monotonic() + BODY_SECONDS, True
    while more:
        patience = max(0.0, min(PIECE_SECONDS, end - time.monotonic()))
        try:
            message = await asyncio.wait_for(receive(), patience)
        except (TimeoutError, asyncio.TimeoutError):
            raise ServiceError("timeout", "The request's body did not arrive in time: send it again.") from None
        if message["type"] == "http.disconnect":
            raise ServiceError("timeout", "The request broke off: send it again.")
        piece: bytes = message.get("body", b"")
        total += len(piece)
        if total > limit:
            raise _too_large(limit)
        yield piece
        more = message.get("more_body", False)


def _is_upload(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"] == UPLOAD_PATH


def _too_large(limit: int) -> ServiceError:
    size = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit // 2**10} KB"
    return ServiceError("too_large", f"The request is larger than {size}: use a smaller copy of the photo.")


async def _refuse(error: ServiceError, send: Send) -> None:
    body = json.dumps({"code": error.code, "message": str(error)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.code == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": STATUS[error.code], "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
