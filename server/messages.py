"""What the front process and the worker process say to each other over their pipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpn_engine.inversion.options import Method
from tpn_engine.nets.presets import MeshColors

# Down: what is to be made. Every target is written beside and then renamed.


@dataclass(frozen=True)
class MakeCapture:
    """`model` is a name of the catalogue or a file; `facts` becomes a JSON file beside the capture.

    `preview` is a .png of the head so far, there only while an optimisation runs.
    """

    model: str
    model_sha256: str
    photo: Path
    method: Method
    seconds: float | None
    face: int | None
    level: bool
    target: Path
    facts: Path
    preview: Path


@dataclass(frozen=True)
class MakeMesh:
    capture: Path
    target: Path
    resolution: int
    triangles: int | None
    smooth: int
    solid: bool
    colors: MeshColors | None


@dataclass(frozen=True)
class MakeView:
    capture: Path
    target: Path
    yaw: float | None
    pitch: float | None
    size: int


@dataclass(frozen=True)
class MakeCrop:
    capture: Path
    target: Path


@dataclass(frozen=True)
class MakeTurntable:
    capture: Path
    target: Path
    frames: int
    size: int
    pitch: float


Work = MakeCapture | MakeMesh | MakeView | MakeCrop | MakeTurntable


@dataclass(frozen=True)
class Order:
    number: int
    work: Work


@dataclass(frozen=True)
class Cancel:
    number: int


# Up: how it goes. `memory_free` is in bytes, of the device, None where it is not known.


@dataclass(frozen=True)
class Hello:
    """The worker is ready; `problem` says why there is no device."""

    device: str | None
    problem: str | None
    memory_free: int | None


@dataclass(frozen=True)
class Began:
    """The worker works on the order: until then, its death has nothing to do with it."""

    number: int


@dataclass(frozen=True)
class Reached:
    """`fraction` is of the whole order, in [0, 1]."""

    number: int
    stage: str
    fraction: float


@dataclass(frozen=True)
class Finished:
    number: int
    facts: dict[str, Any]
    memory_free: int | None


@dataclass(frozen=True)
class Failed:
    number: int
    code: str
    message: str
    memory_free: int | None


@dataclass(frozen=True)
class Logged:
    level: int
    text: str
