"""The head in Blender: geometry, colours, cameras, timeline, renders and files, on the real bpy."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bpy  # isort: skip  # after conftest gave it a profile
import egg
from bpy_extras.object_utils import world_to_camera_view  # pyright: ignore[reportMissingModuleSource]
from mathutils import Vector  # pyright: ignore[reportMissingModuleSource]

from blender_addon.scene import (
    HeadArrays,
    HeadScene,
    RenderOptions,
    build_head,
    render_orbit,
    render_ring,
    render_still,
)
from tpn_engine.camera import Camera

PROVENANCE = {"model": {"name": "synthetic-heads"}, "warnings": [{"code": "low_resolution"}], "seconds": 1.5}
SOURCE = Camera.orbit(17, -11)
# What a label may also say: a centre beside the picture's middle, another focal length.
SHIFTED = Camera(SOURCE.pose, np.array([[4.0, 0, 0.56], [0, 4.0, 0.47], [0, 0, 1]], np.float32))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the engine's head.npz and crop.png."""
    np.savez(tmp_path / "head.npz", **egg.arrays())
    colors, _ = egg.picture(SOURCE, 512)
    Image.fromarray((colors.clip(0, 1) * 255 + 0.5).astype(np.uint8)).save(tmp_path / "crop.png")
    return tmp_path


def build(scene, files: Path, camera: Camera = SOURCE, frames: int = 48) -> HeadScene:
    arrays = HeadArrays.load(files / "head.npz")
    return build_head(scene, "egg", arrays, camera.label, files / "crop.png", PROVENANCE, frames=frames)


def to_blender(points: np.ndarray) -> np.ndarray:
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1) * 0.37


def read(collection, name: str, width: int, dtype: type = np.float32) -> np.ndarray:
    values = np.empty(len(collection) * width, dtype)
    collection.foreach_get(name, values)
    return values.reshape(-1, width)


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rgba = np.asarray(Image.open(path).convert("RGBA"), np.float64) / 255
    return rgba[..., :3], rgba[..., 3]


def snapshot(scene) -> dict[str, object]:
    """The scene's settings: all plain values of everything a render could touch."""
    parts = [scene, scene.render, scene.render.image_settings, scene.render.ffmpeg, scene.view_settings]
    parts += [scene.display_settings, scene.display, scene.display.shading, scene.eevee, scene.cycles]
    values = {
        f"{part.bl_rna.identifier}.{prop.identifier}": getattr(part, prop.identifier)
        for part in parts
        for prop in part.bl_rna.properties
        if prop.type not in {"POINTER", "COLLECTION"}
    }
    values |= {"camera": scene.camera, "world": scene.world}
    values |= {f"marker {marker.name}": (marker.frame, marker.camera) for marker in scene.timeline_markers}
    return {key: list(value) if hasattr(value, "__len__") else value for key, value in values.items()}


def test_the_mesh_stands_where_the_engine_says(scene, files):
    built = build(scene, files)
    mesh, given = built.head.data, egg.arrays()
    points = read(mesh.vertices, "co", 3)
    np.testing.assert_allclose(points, to_blender(given["vertices"]), atol=1e-6)
    nose = points[np.argmin(np.linalg.norm(given["vertices"] - egg.NOSE, axis=1))]
    assert nose[1] == pytest.approx(points[:, 1].min(), abs=1e-4)  # the face looks toward -Y
    assert np.allclose(built.head.matrix_world, np.eye(4))

    assert read(mesh.polygons, "use_smooth", 1, bool).all()
    np.testing.assert_array_equal(read(mesh.polygons, "vertices", 3, np.int32), given["triangles"])
    normals = read(mesh.polygons, "normal", 3)
    centers = read(mesh.polygons, "center", 3)
    outward = centers - to_blender(egg.CENTER[None])
    assert (np.sum(normals * outward, axis=1) > 0).all()
    # Blender's smooth normals are as good as the engine's: the reason not to store those.
    cosines = np.sum(read(mesh.vertices, "normal", 3) * to_blender(given["normals"]) / 0.37, axis=1)
    assert np.degrees(np.arccos(cosines.clip(-1, 1))).max() < 1.0


def test_the_color_attribute_keeps_the_values(scene, files):
    mesh = build(scene, files).head.data
    attribute = mesh.color_attributes["Color"]
    assert (attribute.data_type, attribute.domain) == ("FLOAT_COLOR", "POINT")
    assert mesh.color_attributes.active_color.name == "Color"
    assert mesh.color_attributes[mesh.color_attributes.render_color_index].name == "Color"
    srgb = egg.arrays()["colors"]
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(read(attribute.data, "color", 4)[:, :3], linear, atol=1e-6)
    # Blender's own way back to sRGB is an approximation.
    np.testing.assert_allclose(read(attribute.data, "color_srgb", 4)[:, :3], srgb, atol=3e-4)


@pytest.mark.parametrize("camera", [SOURCE, SHIFTED], ids=["label", "shifted"])
def test_the_source_camera_sees_points_where_the_engine_does(scene, files, camera):
    source = build(scene, files, camera).source
    scene.render.resolution_x = scene.render.resolution_y = 512
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (40, 3))
    seen = [world_to_camera_view(scene, source, Vector(point)) for point in to_blender(points)]
    expected = camera.project(points)
    pixels = np.array([[view.x, 1 - view.y] for view in seen]) * 512
    assert np.abs(pixels - expected[:, :2] * 512).max() < 0.05
    np.testing.assert_allclose([view.z for view in seen], expected[:, 2] * 0.37, atol=1e-5)


def test_the_crop_is_behind_the_source_camera(scene, files):
    source = build(scene, files).source
    (background,) = source.data.background_images
    (files / "crop.png").unlink()
    assert source.data.show_background_images
    assert tuple(background.image.size) == (512, 512)
    assert background.image.packed_file is not None
    assert background.display_depth == "BACK"


@pytest.mark.parametrize(
    ("engine", "size", "camera"),
    [("WORKBENCH", 256, SOURCE), ("WORKBENCH", 256, SHIFTED), ("CYCLES", 64, SOURCE)],
)
def test_the_render_from_the_source_camera_has_the_engines_colors(scene, files, engine, size, camera):
    built = build(scene, files, camera)
    scene.world = bpy.data.worlds.new("bright")  # no light of the scene may change the head
    options = RenderOptions(engine=engine, width=size, height=size, samples=8, transparent=True)
    render_still(scene, built, built.source, files / "view.png", options)
    rgb, alpha = read_picture(files / "view.png")
    expected, inside = egg.picture(camera, size)
    assert (inside ^ (alpha > 0.5)).sum() < 0.01 * inside.sum()
    error = np.abs(rgb - expected)[inside & (alpha > 0.99)]
    assert error.mean() < 1 / 255


def test_glb_keeps_the_colors_and_stays_unlit(scene, files):
    built = build(scene, files)
    path = files / "head.glb"
    bpy.ops.export_scene.gltf(filepath=str(path))
    document, payload = read_glb(path)
    (primitive,) = document["meshes"][0]["primitives"]
    material = document["materials"][primitive["material"]]
    assert "KHR_materials_unlit" in material["extensions"]
    assert material["pbrMetallicRoughness"].get("baseColorFactor", [1, 1, 1, 1]) == [1, 1, 1, 1]
    assert "COLOR_1" not in primitive["attributes"]

    positions = accessor(document, payload, primitive["attributes"]["POSITION"])
    linear = accessor(document, payload, primitive["attributes"]["COLOR_0"])[:, :3].astype(np.float64)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    # glTF's axes are the engine's; every exported vertex has the colour of its place.
    assert np.abs(srgb - egg.color(positions.astype(np.float64) / 0.37)).max() < 2 / 255
    assert len(positions) == len(built.head.data.vertices)


def test_eight_cameras_stand_around_the_head_and_are_bound_to_frames(scene, files):
    built = build(scene, files)
    assert len(built.ring) == 8
    bound = {marker.frame: marker.camera for marker in scene.timeline_markers if marker.camera}
    assert bound == {0: built.source, 1: built.orbit, **{49 + i: camera for i, camera in enumerate(built.ring)}}
    points = to_blender(egg.arrays()["vertices"])
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    for index, camera in enumerate(built.ring):
        scene.frame_set(49 + index)
        assert scene.camera == camera
        place = np.array(camera.matrix_world.translation) - middle
        angle = np.radians(45 * index)  # from the face, -Y, toward the subject's left, +X
        np.testing.assert_allclose(place / np.linalg.norm(place), [np.sin(angle), -np.cos(angle), 0], atol=1e-5)
        seen = np.array([world_to_camera_view(scene, camera, Vector(point)).xy for point in points[::50]])
        assert seen.min() > 0.02
        assert seen.max() < 0.98


def test_the_orbit_ends_where_it_began(scene, files):
    built = build(scene, files, frames=48)

    def pose(frame: int) -> np.ndarray:
        scene.frame_set(frame)
        return np.array(built.orbit.matrix_world)

    np.testing.assert_array_equal(pose(49), pose(1))
    steps = [pose(frame)[:3, 3] for frame in range(1, 50)]
    lengths = np.linalg.norm(np.diff(steps, axis=0), axis=1)
    np.testing.assert_allclose(lengths, lengths.mean(), rtol=1e-4)
    np.testing.assert_allclose(pose(1), built.ring[0].matrix_world, atol=1e-6)
    np.testing.assert_allclose(pose(13), built.ring[2].matrix_world, atol=1e-6)
    assert built.pivot.animation_data.drivers[0].driver.is_simple_expression  # runs without permission


def test_turntables_leave_the_scene_as_it_was(scene, files):
    built = build(scene, files, frames=48)
    scene.render.resolution_x, scene.frame_end, scene.view_settings.exposure = 640, 99, 0.7
    scene.frame_set(3)
    before, scenes = snapshot(scene), len(bpy.data.scenes)
    options = RenderOptions(width=64, height=64)
    render_orbit(scene, built, files / "turn.mp4", options, frames=2)
    render_still(scene, built, built.orbit, files / "still.png", options)
    with pytest.raises(FileNotFoundError):
        render_still(scene, built, built.orbit, files / "nowhere" / "still.png", options)
    assert snapshot(scene) == before
    assert len(bpy.data.scenes) == scenes
    assert {path.name for path in files.iterdir()} == {"head.npz", "crop.png", "turn.mp4", "still.png"}


def test_a_video_shows_each_view_once(scene, files):
    import av

    built = build(scene, files, frames=48)
    options = RenderOptions(width=64, height=64)
    render_orbit(scene, built, files / "turn.mp4", options, frames=8)
    render_ring(scene, built, files / "ring", options)
    with av.open(str(files / "turn.mp4")) as container:
        video = [frame.to_ndarray(format="rgb24") / 255 for frame in container.decode(video=0)]
        assert container.streams.video[0].codec_context.name == "h264"
    ring = [read_picture(path)[0] for path in sorted((files / "ring").iterdir())]
    assert len(video) == len(ring) == 8
    for frame, still in zip(video, ring, strict=True):
        assert np.abs(frame - still).mean() < 4 / 255
    assert min(np.abs(a - b).mean() for a, b in zip(video, [*video[1:], video[0]], strict=True)) > 8 / 255


def test_a_second_import_does_not_disturb_the_first(scene, files):
    first = build(scene, files)
    options = RenderOptions(width=64, height=64, transparent=True)
    render_still(scene, first, first.ring[2], files / "before.png", options)
    kept = {item.name: np.array(item.matrix_world) for item in first.collection.objects}
    markers = {marker.name: (marker.frame, marker.camera) for marker in scene.timeline_markers}
    camera = scene.camera

    second = build(scene, files)
    assert first.collection.name == "Head - egg"
    assert {item.name: np.array(item.matrix_world).tolist() for item in first.collection.objects} == {
        name: matrix.tolist() for name, matrix in kept.items()
    }
    now = {marker.name: (marker.frame, marker.camera) for marker in scene.timeline_markers}
    assert markers.items() <= now.items()
    assert len(now) == 2 * len(markers)
    assert len({frame for frame, _ in now.values()}) == len(now)
    assert scene.camera == camera
    for one, other in zip(first.collection.objects, second.collection.objects, strict=True):
        assert one.name != other.name
        assert one.data is None or one.data != other.data
    assert first.head.active_material != second.head.active_material

    # Side by side, and neither is in the other's pictures.
    gap = second.head.matrix_world.translation.x - first.head.matrix_world.translation.x
    assert gap > first.head.dimensions.x
    render_still(scene, first, first.ring[2], files / "after.png", options)
    render_still(scene, second, second.ring[2], files / "second.png", options)
    before, after, other = (read_picture(files / f"{name}.png")[0] for name in ("before", "after", "second"))
    np.testing.assert_array_equal(before, after)
    assert np.abs(before - other).mean() < 1 / 255

    for item in list(first.collection.objects):
        bpy.data.objects.remove(item)
    assert HeadScene.of(second.collection) == second


def test_the_file_keeps_how_the_head_was_made(scene, files):
    built = build(scene, files)
    assert HeadScene.of(built.collection) == built
    bpy.ops.wm.save_as_mainfile(filepath=str(files / "head.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(files / "head.blend"))
    again = HeadScene.of(bpy.data.collections["Head - egg"])
    assert again.provenance == PROVENANCE
    assert len(again.ring) == 8


def test_damaged_input_makes_nothing(scene, files):
    good = egg.arrays(8, 8)
    label, crop = SOURCE.label, files / "crop.png"
    last = np.full_like(good["triangles"], len(good["vertices"]))
    for damage in (
        {"triangles": last},
        {"triangles": -last},
        {"colors": good["colors"][:-1]},
        {"vertices": good["vertices"] * np.nan},
        {"vertices": good["vertices"][:, :2]},
    ):
        np.savez(files / "damaged.npz", **{**good, **damage})
        with pytest.raises(ValueError, match="damaged"):
            HeadArrays.load(files / "damaged.npz")
    for text in (b"", b"no numbers", (files / "head.npz").read_bytes()[:5000]):
        (files / "damaged.npz").write_bytes(text)
        with pytest.raises(ValueError, match="is not a head mesh"):
            HeadArrays.load(files / "damaged.npz")
    with pytest.raises(ValueError, match="is not a head mesh"):
        HeadArrays.load(files / "missing.npz")

    arrays = HeadArrays.load(files / "head.npz")
    for bad in (label[:24], label * np.nan, label * 0, np.arange(25)):
        with pytest.raises(ValueError, match="camera"):
            build_head(scene, "egg", arrays, bad, crop, PROVENANCE)
    (files / "no picture.png").write_bytes(b"no picture")
    for bad_crop in (files / "no picture.png", files / "missing.png"):
        with pytest.raises(ValueError, match="crop"):
            build_head(scene, "egg", arrays, label, bad_crop, PROVENANCE)
    assert not bpy.data.objects
    assert not bpy.data.images
    assert not bpy.data.meshes


def read_glb(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def accessor(document: dict, payload: bytes, index: int) -> np.ndarray:
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    dtype = {5126: np.float32, 5123: np.uint16, 5121: np.uint8}[entry["componentType"]]
    width = {"VEC3": 3, "VEC4": 4}[entry["type"]]
    offset = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    values = np.frombuffer(payload, dtype, entry["count"] * width, offset).reshape(-1, width)
    return values if dtype is np.float32 else values / np.iinfo(dtype).max
