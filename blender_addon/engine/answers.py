# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's answers mean, checked field by field: whatever they hold, only EngineError is raised."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .errors import EngineError, plain

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
WorkerState = Literal["starting", "idle", "busy", "failing"]

FINAL: frozenset[str] = frozenset({"done", "failed", "cancelled"})

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_DEPTH = 30  # of what is handed on as it came


@dataclass(frozen=True)
class Notice:
    """A code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Health:
    """How an engine is; `memory_free` in bytes, `device` None until its worker is up."""

    contract: int
    version: str
    pid: int
    device: str | None
    memory_free: int | None
    model: str
    worker: WorkerState
    queued: int
    running: int
    problem: str | None


@dataclass(frozen=True)
class ModelInfo:
    """One model of the engine's catalogue; `size` in bytes."""

    name: str
    summary: str
    licence: str
    present: bool
    default: bool
    size: int | None
    sha256: str | None
    problem: str | None


@dataclass(frozen=True)
class CaptureFacts:
    """What a finished capture says about itself; `camera`: the 25 numbers of the source camera's label."""

    camera: list[float]
    iso_level: float
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaptureStatus:
    """A capture on its way; `fraction` in [0, 1]. One that is done has its `facts`."""

    id: str
    state: JobState
    stage: str
    fraction: float
    warnings: tuple[Notice, ...]
    error: Notice | None
    facts: CaptureFacts | None


def parse_health(body: bytes) -> Health:
    """Raises EngineError "bad_answer"."""
    values = _object(_json(body))
    worker = _object(values.get("worker"))
    return Health(
        contract=_whole(values, "contract"),
        version=_text(values, "version"),
        pid=_whole(values, "pid"),
        device=_text_or_none(values, "device"),
        memory_free=_whole_or_none(values, "memory_free"),
        model=_text(values, "model"),
        worker=_one_of(worker, "state", get_args(WorkerState)),
        queued=_whole(values, "queued"),
        running=_whole(values, "running"),
        problem=_text_or_none(values, "problem"),
    )


def parse_models(body: bytes) -> list[ModelInfo]:
    """Raises EngineError "bad_answer"."""
    return [
        ModelInfo(
            name=_text(values, "name"),
            summary=_text(values, "summary"),
            licence=_text(values, "licence"),
            present=_flag(values, "present"),
            default=_flag(values, "default"),
            size=_whole_or_none(values, "size"),
            sha256=_text_or_none(values, "sha256"),
            problem=_text_or_none(values, "problem"),
        )
        for values in map(_object, _list(_json(body)))
    ]


def parse_status(body: bytes) -> CaptureStatus:
    """Raises EngineError "bad_answer"."""
    values = _object(_json(body))
    state: Any = _one_of(values, "state", get_args(JobState))
    error, facts = values.get("error"), values.get("result")
    if (state == "done" and facts is None) or (state == "failed" and error is None):
        raise bad_answer()
    return CaptureStatus(
        id=_id(values),
        state=state,
        stage=_text(values, "stage"),
        fraction=min(1.0, max(0.0, _number(values.get("fraction")))),
        warnings=tuple(map(_notice, _list(values.get("warnings")))),
        error=None if error is None else _notice(error),
        facts=None if facts is None else _facts(facts),
    )


def parse_accepted(body: bytes) -> str:
    """The id of a capture whose photo was taken in. Raises EngineError "bad_answer"."""
    return _id(_object(_json(body)))


def parse_failure(status: int, body: bytes) -> EngineError:
    """The error that an answer other than a success stands for."""
    try:
        notice = _notice(_json(body))
    except EngineError:
        return EngineError(
            "bad_answer",
            f"What answers in the engine's place is something else (HTTP status {status}): "
            "press Stop Engine in the preferences and try again.",
        )
    return EngineError(notice.code, notice.message)


def bad_answer() -> EngineError:
    """An answer that does not fit the contract."""
    return EngineError(
        "bad_answer",
        "The engine's answer can't be understood: press Update in the preferences, so that it fits this extension.",
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise bad_answer() from None


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise bad_answer()
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise bad_answer()
    return value


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if type(value) is not str:
        raise bad_answer()
    return plain(value)


def _text_or_none(values: dict[str, Any], name: str) -> str | None:
    return None if values.get(name) is None else _text(values, name)


def _one_of(values: dict[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    value = values.get(name)
    if type(value) is not str or value not in choices:
        raise bad_answer()
    return value


def _whole(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if type(value) is not int or not 0 <= value < 2**63:
        raise bad_answer()
    return value


def _whole_or_none(values: dict[str, Any], name: str) -> int | None:
    return None if values.get(name) is None else _whole(values, name)


def _flag(values: dict[str, Any], name: str) -> bool:
    value = values.get(name)
    if type(value) is not bool:
        raise bad_answer()
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e30 or not math.isfinite(value):
        raise bad_answer()
    return float(value)


def _id(values: dict[str, Any]) -> str:
    value = values.get("id")
    if type(value) is not str or _ID.fullmatch(value) is None:
        raise bad_answer()
    return value


def _notice(value: Any) -> Notice:
    values = _object(value)
    notice = Notice(_text(values, "code"), _text(values, "message"))
    if not notice.code or not notice.message:
        raise bad_answer()
    return notice


def _facts(value: Any) -> CaptureFacts:
    values = _object(value)
    camera = [_number(number) for number in _list(values.get("camera"))]
    if len(camera) != 25:
        raise bad_answer()
    provenance = _object(_cleaned(values.get("provenance"), _DEPTH))
    return CaptureFacts(camera, _number(values.get("iso_level")), provenance)


def _cleaned(value: Any, depth: int) -> Any:
    """The same with strings that can be shown and stored, and nothing that JSON can't say."""
    if depth == 0:
        raise bad_answer()
    if type(value) is str:
        return plain(value)
    if type(value) is dict:
        return {plain(name): _cleaned(item, depth - 1) for name, item in value.items()}
    if type(value) is list:
        return [_cleaned(item, depth - 1) for item in value]
    if type(value) in (int, float):
        _number(value)
    return value
