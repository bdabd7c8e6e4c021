"""Head meshes as files: GLB, OBJ, PLY, STL and NPZ."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tpn_engine.files import checked_output, replacing
from tpn_engine.version import __version__

if TYPE_CHECKING:
    from tpn_engine.surface.mesh import HeadMesh

METRES_PER_UNIT = 0.37  # an adult head; the EG3D unit has no size of its own

_FLOAT, _UNSIGNED_INT = 5126, 5125  # glTF component types
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963  # glTF buffer targets


def write_mesh(mesh: HeadMesh, path: str | os.PathLike[str]) -> None:
    """Write `mesh` in the format of the path's suffix, whole or not at all.

    Raises OptionError for an unknown suffix, FileError where nothing can be written.
    """
    path = checked_output(path, _WRITERS)
    with replacing(path) as unfinished:
        unfinished.write_bytes(_WRITERS[path.suffix.lower()](mesh))


def srgb_to_linear(colors: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _metres(mesh: HeadMesh) -> np.ndarray:
    return (mesh.vertices * METRES_PER_UNIT).astype(np.float32)


def _bytes(colors: np.ndarray) -> np.ndarray:
    return np.rint(colors * 255).astype(np.uint8)


def _glb(mesh: HeadMesh) -> bytes:
    """Binary glTF 2.0: the world's axes are glTF's own. COLOR_0 is linear, as the standard asks."""
    vertices = _metres(mesh)
    parts = [vertices, mesh.normals, srgb_to_linear(mesh.colors), mesh.triangles.astype(np.uint32)]
    blobs = [np.ascontiguousarray(part).tobytes() for part in parts]  # each a multiple of four bytes
    offsets = np.cumsum([0] + [len(blob) for blob in blobs]).tolist()
    vector = {"componentType": _FLOAT, "count": len(vertices), "type": "VEC3"}
    bounds = {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
    index = {"componentType": _UNSIGNED_INT, "count": mesh.triangles.size, "type": "SCALAR"}
    accessors = [vector | bounds, vector, vector, index]
    targets = [_ARRAY_BUFFER, _ARRAY_BUFFER, _ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER]
    document = {
        "asset": {"version": "2.0", "generator": f"tpn-engine {__version__}"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "Head", "mesh": 0}],
        "meshes": [
            {
                "name": "Head",
                "primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}],
            }
        ],
        "materials": [
            {
                "name": "Head",
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9},
                "extensions": {"KHR_materials_unlit": {}},
            }
        ],
        "accessors": [accessor | {"bufferView": view} for view, accessor in enumerate(accessors)],
        "bufferViews": [
            {"buffer": 0, "byteOffset": offset, "byteLength": len(blob), "target": target}
            for offset, blob, target in zip(offsets, blobs, targets, strict=False)
        ],
        "buffers": [{"byteLength": offsets[-1]}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = _glb_chunk(b"JSON", text) + _glb_chunk(b"BIN\0", b"".join(blobs))
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _glb_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack("<I4s", len(content), kind) + content


def _obj(mesh: HeadMesh) -> bytes:
    """Wavefront OBJ with sRGB after each vertex and a normal each."""
    vertices = [b"v", *_columns(_metres(mesh), 7), *_columns(mesh.colors, 5)]
    normals = [b"vn", *_columns(mesh.normals, 4)]
    corners = [_digits(column) for column in (mesh.triangles.T + 1)]
    faces = [b"f", *(np.concatenate([corner, _text(b"//", len(corner)), corner], 1) for corner in corners)]
    return b"# tpn-engine, metres\n" + _lines(vertices) + _lines(normals) + _lines(faces)


def _columns(values: np.ndarray, decimals: int) -> list[np.ndarray]:
    return [_decimals(column, decimals) for column in values.T]


# Text is made as arrays of characters [N, width] in which zero bytes stand for nothing: formatting
# number by number takes seconds for a head.


def _lines(fields: list[bytes | np.ndarray]) -> bytes:
    """One line for each row: the fields, separated by spaces."""
    count = max(len(field) for field in fields if isinstance(field, np.ndarray))
    pieces: list[np.ndarray] = []
    for field in fields:
        pieces += [_text(field, count) if isinstance(field, bytes) else field, _text(b" ", count)]
    pieces[-1] = _text(b"\n", count)
    characters = np.concatenate(pieces, axis=1).ravel()
    return characters[characters != 0].tobytes()


def _text(text: bytes, count: int) -> np.ndarray:
    return np.broadcast_to(np.frombuffer(text, np.uint8), (count, len(text)))


def _digits(values: np.ndarray, least: int = 1) -> np.ndarray:
    """Whole numbers >= 0 as decimal digits without leading zeros, but for the last `least` digits."""
    width = max(least, len(str(int(values.max(initial=0)))))
    digits = np.empty((len(values), width), np.uint8)
    rest = values.astype(np.uint32)
    for place in range(width - 1, -1, -1):
        rest, digit = np.divmod(rest, np.uint32(10))
        digits[:, place] = digit + ord("0")
    leading = np.maximum.accumulate(digits != ord("0"), axis=1)
    leading[:, width - least :] = True
    return np.where(leading, digits, 0)


def _decimals(values: np.ndarray, decimals: int) -> np.ndarray:
    """Numbers below 400 as text with a fixed number of decimals."""
    scaled = np.rint(values.astype(np.float64) * 10**decimals).astype(np.int64)
    sign = np.where(scaled < 0, ord("-"), 0).astype(np.uint8)[:, None]
    digits = _digits(np.abs(scaled), least=decimals + 1)
    point = _text(b".", len(values))
    return np.concatenate([sign, digits[:, :-decimals], point, digits[:, -decimals:]], axis=1)


def _ply(mesh: HeadMesh) -> bytes:
    """Binary PLY with normals and sRGB bytes."""
    vertex_fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    vertex_fields += [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.empty(len(mesh.vertices), np.dtype(vertex_fields))
    columns = np.concatenate([_metres(mesh), mesh.normals], axis=1).T
    for (name, _), column in zip(vertex_fields, [*columns, *_bytes(mesh.colors).T], strict=True):
        vertices[name] = column
    faces = np.empty(len(mesh.triangles), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, mesh.triangles
    header = ["ply", "format binary_little_endian 1.0", "comment tpn-engine, metres"]
    header += [f"element vertex {len(vertices)}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in vertex_fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def _stl(mesh: HeadMesh) -> bytes:
    """Binary STL: triangles alone, each with its own normal."""
    corners = _metres(mesh)[mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    facets = np.zeros(len(corners), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")]))
    facets["normal"], facets["corners"] = normals, corners
    return b"tpn-engine, metres".ljust(80) + struct.pack("<I", len(facets)) + facets.tobytes()


def _npz(mesh: HeadMesh) -> bytes:
    """The mesh's own arrays, EG3D units."""
    stream = io.BytesIO()
    np.savez(stream, vertices=mesh.vertices, triangles=mesh.triangles, normals=mesh.normals, colors=mesh.colors)
    return stream.getvalue()


_WRITERS: dict[str, Callable[[HeadMesh], bytes]] = {
    ".glb": _glb,
    ".obj": _obj,
    ".ply": _ply,
    ".stl": _stl,
    ".npz": _npz,
}
