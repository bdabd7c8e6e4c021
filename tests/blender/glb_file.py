"""The one mesh of a GLB, read with nothing but its specification."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np


class GlbFile:
    """`document` is its JSON; `read` gives an attribute of the only primitive."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        (length,) = struct.unpack("<I", data[12:16])
        self.document: dict[str, Any] = json.loads(data[20 : 20 + length])
        self._payload = data[28 + length :]
        (mesh,) = self.document["meshes"]
        (self.primitive,) = mesh["primitives"]

    @property
    def material(self) -> dict[str, Any]:
        return self.document["materials"][self.primitive["material"]]

    def read(self, attribute: str) -> np.ndarray:
        """An attribute as floats, one row a vertex."""
        entry = self.document["accessors"][self.primitive["attributes"][attribute]]
        view = self.document["bufferViews"][entry["bufferView"]]
        dtype = {5126: np.float32, 5123: np.uint16, 5121: np.uint8}[entry["componentType"]]
        width = {"VEC3": 3, "VEC4": 4}[entry["type"]]
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        values = np.frombuffer(self._payload, dtype, entry["count"] * width, start).reshape(-1, width)
        return values.astype(np.float64) / (1 if dtype is np.float32 else np.iinfo(dtype).max)
