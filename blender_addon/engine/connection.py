# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a running engine is reached."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EngineError

CONTRACT = 1  # of the HTTP interface this extension speaks

_URL = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
_LONGEST = 4096  # bytes


@dataclass(frozen=True)
class Connection:
    """Where an engine listens, on this machine only, and the token it wants to see.

    Raises EngineError "bad_answer" for anything that could lead elsewhere.
    """

    url: str
    token: str
    contract: int
    pid: int

    def __post_init__(self) -> None:
        match = _URL.fullmatch(self.url)
        if match is None or not 0 < int(match[1]) < 65536 or _TOKEN.fullmatch(self.token) is None or self.pid <= 0:
            raise _unreadable()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def parse_connection(line: str | bytes) -> Connection:
    """The line of JSON an engine prints when it is up. Raises EngineError "bad_answer" for any other."""
    if len(line) > _LONGEST:
        raise _unreadable()
    try:
        values: Any = json.loads(line)
        kinds = {"url": str, "token": str, "contract": int, "pid": int}
        if type(values) is not dict or any(type(values.get(name)) is not kind for name, kind in kinds.items()):
            raise _unreadable()
    except (ValueError, RecursionError):
        raise _unreadable() from None
    return Connection(**{name: values[name] for name in kinds})


def published_connections(cache_folder: Path) -> list[Connection]:
    """The engines that use this cache folder and say so there; some may have ended without taking it back."""
    found: list[Connection] = []
    for path in sorted(cache_folder.glob("service-*/connection.json")):
        with suppress(OSError, EngineError):
            if _is_ours(path):
                with path.open("rb") as file:
                    found.append(parse_connection(file.read(_LONGEST + 1)))
    return found


def _is_ours(path: Path) -> bool:
    """Photos go only to engines of the same user, even where others can write to the cache folder."""
    getuid = getattr(os, "getuid", None)  # not on Windows, where a user's folders are the user's
    return getuid is None or path.stat().st_uid == getuid()


def _unreadable() -> EngineError:
    return EngineError("bad_answer", "The engine did not say how to reach it: press Repair in the preferences.")
