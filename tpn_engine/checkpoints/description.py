"""What is written beside a model's weights: its preset, hash, origin and licence, as JSON."""

from __future__ import annotations

import dataclasses
import json
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tpn_engine.errors import ModelError
from tpn_engine.nets.presets import Preset

FORMAT = 1
_LARGEST = 2**16  # no width, depth or resolution comes near


@dataclass(frozen=True)
class Description:
    """A model in words: `sha256` is that of the .safetensors file beside the description."""

    name: str
    preset: Preset
    sha256: str
    licence: str
    origin: str


def description_path(weights: Path) -> Path:
    """The .json beside a .safetensors file."""
    return weights.with_suffix(".json")


def to_json(description: Description) -> str:
    """The text of a description file."""
    return json.dumps({"format": FORMAT, **asdict(description)}, indent=2) + "\n"


def read_description(path: Path) -> Description:
    """Read a description file; raises ModelError where it is missing, damaged or from a newer version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: a model is its .safetensors and this beside it.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read: get the model again.") from error
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise ModelError(f"{path} is not a model description of this version: update tpn-engine.")
    try:
        return _restore(Description, data)
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path} does not describe a model ({error}): get the model again.") from error


def _restore(kind: Any, value: Any) -> Any:
    """JSON back to the annotated type: nested dataclasses, tuples, closed choices and plain values."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{kind.__name__} is not an object")
        hints = get_type_hints(kind)
        if unknown := set(value) - set(hints):
            raise KeyError(f"unknown {sorted(unknown)[0]}")
        return kind(**{name: _restore(hints[name], part) for name, part in value.items()})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _restore(next(choice for choice in arguments if choice is not type(None)), value)
    if origin is tuple:
        return tuple(_restore(part, item) for part, item in zip(arguments, value, strict=True))
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{value!r} is not one of {arguments}")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not {kind.__name__}")
    if kind is int and not 0 <= value <= _LARGEST:
        raise ValueError(f"{value} is not between 0 and {_LARGEST}")
    return value
