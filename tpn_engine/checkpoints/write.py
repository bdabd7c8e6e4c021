"""A model's two files, written tensor by tensor: what is in memory is never more than one of them."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from tpn_engine.checkpoints.description import Description, description_path, to_json
from tpn_engine.checkpoints.disk import check_room
from tpn_engine.checkpoints.pickles import RefusedError
from tpn_engine.files import replacing
from tpn_engine.nets.presets import Preset
from tpn_engine.progress import Progress

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
_ROOM = 2**24  # for the header and the description


class Loadable(Protocol):
    """A tensor that may still be in another file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def load(self) -> Tensor: ...


def write_model(
    path: Path,
    tensors: Mapping[str, Loadable],
    *,
    name: str,
    preset: Preset,
    licence: str,
    origin: str,
    progress: Progress,
) -> Description:
    """Write `path` and the description beside it: both, or neither.

    Numbers keep their precision. Raises RefusedError for numbers that are none, FileError, CancelledError.
    """
    kinds = {key: _kind(tensor.dtype) for key, tensor in tensors.items()}
    header: dict[str, object] = {}
    end = 0
    for key, tensor in tensors.items():
        start, end = end, end + torch.Size(tensor.shape).numel() * kinds[key].itemsize
        header[key] = {"dtype": _NAMES[kinds[key]], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    check_room(path.parent, end + _ROOM)

    digest = hashlib.sha256()
    with replacing(description_path(path)) as described, replacing(path) as unfinished:
        with unfinished.open("wb") as file:
            for block in (struct.pack("<Q", len(text)), text):
                file.write(block)
                digest.update(block)
            for key, tensor in tensors.items():
                loaded = tensor.load().to(kinds[key])
                if loaded.is_floating_point() and not loaded.isfinite().all():
                    raise RefusedError(f"is damaged: {key} holds values that are no numbers")
                numbers = loaded.contiguous().view(-1).view(torch.uint8).numpy().data
                file.write(numbers)
                digest.update(numbers)
                progress("convert", file.tell() / (8 + len(text) + end))
        description = Description(name, preset, digest.hexdigest(), licence, origin)
        described.write_text(to_json(description), encoding="utf-8")
    return description


def _kind(dtype: torch.dtype) -> torch.dtype:
    if dtype in _NAMES:
        return dtype
    return torch.float32 if dtype.is_floating_point else torch.int64
