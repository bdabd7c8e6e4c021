# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine is asked. Short requests never hold up the caller; long ones are stepped."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from .answers import (
    CaptureStatus,
    Health,
    ModelInfo,
    parse_accepted,
    parse_health,
    parse_models,
    parse_status,
)
from .connection import Connection
from .errors import EngineError
from .transfer import FILE_LIMIT, Transfer

SHORT_SECONDS = 0.05  # Blender's window stands still while a short request waits

__all__ = ["Client", "EngineError", "Transfer"]


class Client:
    """One engine's HTTP face. Every method raises EngineError and nothing else.

    A short request that has no answer within 50 ms raises "slow": that is no failure, ask again.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def health(self) -> Health:
        """How the engine is."""
        return parse_health(self._short("GET", "/v1/health"))

    def models(self) -> list[ModelInfo]:
        """The models it knows, present or not."""
        return parse_models(self._short("GET", "/v1/models"))

    def status(self, id: str) -> CaptureStatus:
        """How far a capture is."""
        return parse_status(self._short("GET", _path(id)))

    def cancel(self, id: str) -> None:
        """Stop a capture that waits or runs; one that is over is forgotten instead."""
        self._short("DELETE", _path(id))

    def forget(self, id: str) -> None:
        """Drop a capture that is over from the engine's list; the same photo stays instant."""
        self._short("DELETE", _path(id))

    def release(self) -> None:
        """Give back all memory of the device; refused as "busy" while something is computed."""
        self._short("POST", "/v1/release")

    def shutdown(self) -> None:
        """End the engine."""
        self._short("POST", "/v1/shutdown")

    def upload(self, photo: bytes, query: Mapping[str, str]) -> Transfer:
        """Send a photo; see `accepted`."""
        return Transfer(self.connection, "POST", "/v1/captures", query, photo)

    def accepted(self, transfer: Transfer) -> str:
        """The id that a finished upload was answered with."""
        return parse_accepted(transfer.body)

    def download(self, id: str, file: str, query: Mapping[str, str] | None = None) -> Transfer:
        """Fetch a capture's file, such as "mesh.npz"; the engine may need minutes before it comes."""
        return Transfer(self.connection, "GET", f"{_path(id)}/{file}", query, limit=FILE_LIMIT)

    def _short(self, method: str, path: str) -> bytes:
        transfer = Transfer(self.connection, method, path)
        if not transfer.step(SHORT_SECONDS):
            transfer.close()
            raise EngineError("slow", "The engine did not answer in time: try again.")
        return transfer.body


def _path(id: str) -> str:
    """Ids come from .blend files too, which may hold anything."""
    return f"/v1/captures/{quote(id, safe='', errors='replace')}"
