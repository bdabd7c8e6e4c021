"""A portrait in, a head out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tpn_engine.version import __version__

if TYPE_CHECKING:
    from tpn_engine.camera import Camera
    from tpn_engine.capture import Capture
    from tpn_engine.engine import Engine
    from tpn_engine.portrait import Portrait
    from tpn_engine.surface import HeadMesh

__all__ = ["Camera", "Capture", "Engine", "HeadMesh", "Portrait", "__version__"]

_HOMES = {
    "Camera": "tpn_engine.camera",
    "Capture": "tpn_engine.capture",
    "Engine": "tpn_engine.engine",
    "HeadMesh": "tpn_engine.surface",
    "Portrait": "tpn_engine.portrait",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds and `tpn --help` needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tpn_engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
