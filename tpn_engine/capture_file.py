"""The .capture file: one safetensors file whose metadata holds the facts as JSON.

Nothing in it is ever executed. A digest over facts and tensors tells a damaged file from a sound one.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tpn_engine.errors import CaptureFileError
from tpn_engine.files import checked_output, replacing

SUFFIX = ".capture"
VERSION = 1
_FACTS, _DIGEST = "head_capture", "sha256"  # one entry only: the order of several is not kept


def write_capture_file(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts to a .capture; raises OptionError (suffix) or FileError."""
    path = checked_output(path, (SUFFIX,))
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    facts = {"version": VERSION, **facts}
    text = json.dumps({**facts, _DIGEST: _digest(facts, tensors)})
    with replacing(path) as unfinished:
        # save_file would make it readable by its owner only
        unfinished.write_bytes(save(tensors, metadata={_FACTS: text}))


def read_capture_file(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and facts of a .capture file, bit for bit as they were written.

    Raises CaptureFileError where the file is missing, damaged, of another kind or from a newer version.
    """
    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads((file.metadata() or {}).get(_FACTS, "null"))
            _check_version(path, facts)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CaptureFileError(f"There is no file {path}.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CaptureFileError(f"{path} is damaged or not a capture: make it again from the photo.") from error
    if facts.pop(_DIGEST, None) != _digest(facts, tensors):
        raise CaptureFileError(f"{path} is damaged: make it again from the photo.")
    return tensors, facts


def _check_version(path: str | os.PathLike[str], facts: Any) -> None:
    version = facts.get("version") if isinstance(facts, dict) else None
    if not isinstance(version, int):
        raise CaptureFileError(f"{path} is not a capture: give a file made by this program.")
    if version > VERSION:
        raise CaptureFileError(f"{path} was made by a newer version of this program: update it.")


def _digest(facts: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tensors[name].shape}".encode())
        digest.update(tensors[name].data)
    return digest.hexdigest()
