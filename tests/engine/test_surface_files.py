"""Files of head meshes, read back by others' code."""

from __future__ import annotations

import json
import resource
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from surface_fields import ellipsoid_field
from trimesh.visual import ColorVisuals, TextureVisuals

from tpn_engine.errors import FileError, OptionError
from tpn_engine.surface import HeadMesh, MeshOptions, extract_mesh
from tpn_engine.surface.files import METRES_PER_UNIT

WITHIN = 1 / 255 + 1e-6


@pytest.fixture(scope="module")
def head() -> HeadMesh:
    """A mesh whose colours reach from black to white."""
    mesh = extract_mesh(ellipsoid_field("xy_xz_yz"), MeshOptions(resolution=40))
    colors = np.random.default_rng(0).random(mesh.colors.shape, np.float32)
    colors[:3] = [[0, 0, 0], [1, 1, 1], [0.02, 0.5, 0.98]]
    return replace(mesh, colors=colors)


def read(path: Path) -> trimesh.Trimesh:
    scene = trimesh.load_scene(path, process=False)
    assert len(scene.geometry) == 1
    mesh = next(iter(scene.geometry.values()))
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def bytes_of_colors(mesh: trimesh.Trimesh) -> np.ndarray:
    assert isinstance(mesh.visual, ColorVisuals)
    return mesh.visual.vertex_colors[:, :3]


def assert_same_shape(found: trimesh.Trimesh, head: HeadMesh) -> None:
    np.testing.assert_allclose(found.vertices, head.vertices * METRES_PER_UNIT, atol=1e-6)
    np.testing.assert_array_equal(found.faces, head.triangles)
    assert found.volume > 0


def glb_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk, their frame checked."""
    data = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, json_kind) == (b"glTF", 2, len(data), b"JSON")
    bin_length, bin_kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert bin_kind == b"BIN\0"
    assert json_length % 4 == bin_length % 4 == 0
    assert 28 + json_length + bin_length == len(data)
    return json.loads(data[20 : 20 + json_length]), data[28 + json_length :]


def test_glb_is_read_by_others(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "head.glb")
    found = read(tmp_path / "head.glb")
    assert_same_shape(found, head)
    assert isinstance(found.visual, TextureVisuals)
    np.testing.assert_allclose(srgb(found.visual.vertex_attributes["color"]), head.colors, atol=WITHIN / 10)


def test_glb_follows_the_standard(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "head.glb")
    document, content = glb_parts(tmp_path / "head.glb")
    assert document["buffers"] == [{"byteLength": len(content)}]
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert document["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    assert set(attributes) == {"POSITION", "NORMAL", "COLOR_0"}

    def values(attribute: str) -> np.ndarray:
        accessor = document["accessors"][attributes[attribute]]
        assert (accessor["componentType"], accessor["type"]) == (5126, "VEC3")
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteLength"] == accessor["count"] * 12
        return np.frombuffer(content, "<f4", accessor["count"] * 3, view["byteOffset"]).reshape(-1, 3)

    np.testing.assert_allclose(values("POSITION"), head.vertices * METRES_PER_UNIT, rtol=1e-6)
    np.testing.assert_array_equal(values("NORMAL"), head.normals)
    np.testing.assert_allclose(srgb(values("COLOR_0")), head.colors, atol=WITHIN / 10)
    position = document["accessors"][attributes["POSITION"]]
    np.testing.assert_array_equal(position["min"], values("POSITION").min(0))
    np.testing.assert_array_equal(position["max"], values("POSITION").max(0))


def test_obj(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "head.obj")
    found = read(tmp_path / "head.obj")
    assert_same_shape(found, head)
    np.testing.assert_allclose(bytes_of_colors(found) / 255, head.colors, atol=WITHIN)
    lines = (tmp_path / "head.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    normals = np.array([line.split()[1:] for line in lines if line.startswith("vn ")], float)
    faces = [line.split()[1:] for line in lines if line.startswith("f ")]
    np.testing.assert_allclose(vertices[:, :3], head.vertices * METRES_PER_UNIT, atol=1e-7)
    np.testing.assert_allclose(vertices[:, 3:], head.colors, atol=1e-5)
    np.testing.assert_allclose(normals, head.normals, atol=1e-4)
    assert faces == [[f"{corner}//{corner}" for corner in face] for face in (head.triangles + 1).tolist()]


def test_ply(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "head.ply")
    found = read(tmp_path / "head.ply")
    assert_same_shape(found, head)
    np.testing.assert_allclose(found.vertex_normals, head.normals, atol=1e-3)  # trimesh makes them itself
    header, body = (tmp_path / "head.ply").read_bytes().split(b"end_header\n", 1)
    assert b"property float nx" in header
    vertices = np.frombuffer(body, [("floats", "<f4", 6), ("color", "u1", 3)], len(head.vertices))
    np.testing.assert_array_equal(vertices["floats"][:, 3:], head.normals)
    np.testing.assert_allclose(bytes_of_colors(found) / 255, head.colors, atol=WITHIN)


def test_stl(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "head.stl")
    found = read(tmp_path / "head.stl")
    corners = head.vertices[head.triangles] * METRES_PER_UNIT
    np.testing.assert_allclose(found.triangles, corners, atol=1e-6)
    np.testing.assert_allclose((found.face_normals * trimesh.triangles.normals(corners)[0]).sum(1), 1, atol=1e-3)


def test_npz_keeps_the_mesh_bit_for_bit(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as found:
        assert set(found) == {"vertices", "triangles", "normals", "colors"}
        for name in found:
            np.testing.assert_array_equal(found[name], getattr(head, name))
            assert found[name].dtype == getattr(head, name).dtype


def test_suffixes_in_capitals_are_known(head: HeadMesh, tmp_path: Path):
    head.save(tmp_path / "HEAD.PLY")
    assert_same_shape(read(tmp_path / "HEAD.PLY"), head)


def test_an_unknown_suffix_is_refused_with_the_known_ones(head: HeadMesh, tmp_path: Path):
    with pytest.raises(OptionError, match=r"\.glb, \.npz, \.obj, \.ply, \.stl"):
        head.save(tmp_path / "head.fbx")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_told(head: HeadMesh, tmp_path: Path):
    with pytest.raises(FileError, match="no folder"):
        head.save(tmp_path / "nowhere" / "head.glb")


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl", "npz"])
def test_a_write_that_fails_leaves_nothing_and_replaces_nothing(head: HeadMesh, tmp_path: Path, suffix: str):
    older = tmp_path / f"older.{suffix}"
    older.write_bytes(b"older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as a disk that becomes full
    try:
        for name in (f"older.{suffix}", f"new.{suffix}"):
            with pytest.raises(FileError, match="could not be written"):
                head.save(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [older.name]
    assert older.read_bytes() == b"older"
