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
_FACTS, _DIGEST = "head_capture", "sha256"


def write_capture_file(path: str | os.PathLike[str], tensors: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write tensors and JSON facts to a .capture; raises OptionError (suffix) or FileError."""
    path = checked_output(path, (SUFFIX,))
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    text = json.dumps({"version": VERSION, **facts})
    with replacing(path) as unfinished:
        # save_file would make it readable by its owner only
        unfinished.write_bytes(save(tensors, metadata={_FACTS: text, _DIGEST: _digest(text, tensors)}))


def read_capture_file(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and facts of a .capture file, bit for bit as they were written.

    Raises CaptureFileError where the file is missing, damaged, of another kind or from a newer version.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if _FACTS not in metadata or _DIGEST not in metadata:
                raise CaptureFileError(f"{path} is not a capture: give a file made by this program.")
            text = metadata[_FACTS]
            _check_version(path, json.loads(text))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CaptureFileError(f"There is no file {path}.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CaptureFileError(f"{path} is damaged or not a capture: make it again from the photo.") from error
    if metadata[_DIGEST] != _digest(text, tensors):
        raise CaptureFileError(f"{path} is damaged: make it again from the photo.")
    return tensors, json.loads(text)


def _check_version(path: str | os.PathLike[str], facts: Any) -> None:
    version = facts.get("version") if isinstance(facts, dict) else None
    if not isinstance(version, int):
        raise CaptureFileError(f"{path} is not a capture: give a file made by this program.")
    if version > VERSION:
        raise CaptureFileError(f"{path} was made by a newer version of this program: update it.")


def _digest(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype}{tensors[name].shape}".encode())
        digest.update(tensors[name].data)
    return digest.hexdigest()
