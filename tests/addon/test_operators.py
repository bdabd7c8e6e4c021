"""The extension's operators in background mode, with a real engine and the embedded model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bpy  # isort: skip  # after conftest gave it a profile
from installed import MODULE, drawn, portrait, switched_on

from blender_addon import session as sessions
from blender_addon.properties import METHODS
from blender_addon.scene import HeadScene, head_collections


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operators")


@pytest.fixture(scope="module")
def preferences(work: Path) -> Iterator[Any]:
    with switched_on(work) as preferences:
        yield preferences


@pytest.fixture(scope="module")
def photo(work: Path) -> Path:
    return portrait(work)


@pytest.fixture(scope="module")
def head(preferences, photo) -> HeadScene:
    """The photo's head, small, in an otherwise empty scene."""
    settings = bpy.context.scene.head_capture
    settings.quality, settings.custom_resolution, settings.ring, settings.frames = "CUSTOM", 48, 4, 24
    assert bpy.ops.head_capture.import_face(filepath=str(photo)) == {"FINISHED"}
    return HeadScene.of(bpy.data.collections["Head - collins"])


def colors_of(mesh: bpy.types.Mesh) -> np.ndarray:
    values = np.empty(len(mesh.vertices) * 4, np.float32)
    mesh.color_attributes["Color"].data.foreach_get("color_srgb", values)
    return values.reshape(-1, 4)[:, :3]


def remove(made: HeadScene) -> None:
    for item in list(made.collection.objects):
        bpy.data.objects.remove(item)
    bpy.data.collections.remove(made.collection)


def message(caught: pytest.ExceptionInfo[RuntimeError]) -> str:
    return str(caught.value)


def test_a_photo_becomes_a_head_with_its_cameras(head, photo):
    assert len(head.ring) == 4
    assert len(head.head.data.polygons) > 5000
    assert colors_of(head.head.data).std() > 0.05
    assert bpy.context.view_layer.objects.active == head.head
    assert head.head.select_get()
    assert bpy.context.scene.head_capture.photo == str(photo)


def test_the_head_says_how_it_was_made(head):
    made = head.provenance
    assert made["model"]["name"] == "synthetic-heads"
    assert len(made["model"]["sha256"]) == 64
    assert made["capture_id"]
    assert made["warnings"] == ["The face is small: it was enlarged 3.2 times. A sharper photo gives a better head."]
    assert made["settings"] == {
        "model": "synthetic-heads",
        "method": "triplanenet",
        "time_limit": None,
        "resolution": 48,
        "face": None,
        "level": False,
        "colors": "photo",
    }
    shown = drawn("HEAD_CAPTURE_PT_head").texts().replace("\n", " ")
    assert made["warnings"][0] in shown
    assert "collins" in shown


@pytest.mark.parametrize("method", [method for method, *_ in METHODS])
def test_every_method_of_the_panel_makes_a_head(head, photo, method):
    settings = bpy.context.scene.head_capture
    settings.method, settings.time_limit = method, 1
    try:
        assert bpy.ops.head_capture.import_face(filepath=str(photo)) == {"FINISHED"}
    finally:
        settings.method, settings.time_limit = "triplanenet", 0
    made = HeadScene.of(bpy.context.view_layer.objects.active.users_collection[0])
    assert made.provenance["settings"]["method"] == made.provenance["method"] == method
    assert len(made.head.data.polygons) > 5000
    remove(made)


def test_nothing_goes_on_afterwards(head):
    assert sessions.current().running is None
    assert sessions.current().engine is not None


def test_a_new_mesh_keeps_everything_else(head):
    before = {item.name: item.matrix_world.copy() for item in head.collection.objects}
    few, mesh, material = len(head.head.data.polygons), head.head.data.name, head.head.active_material
    head.head.location.x = 0.25
    assert bpy.ops.head_capture.remesh(resolution=64, colors="photo") == {"FINISHED"}
    assert len(head.head.data.polygons) > 1.3 * few
    assert (head.head.data.name, head.head.active_material) == (mesh, material)
    assert head.head.location.x == pytest.approx(0.25)
    assert set(before) == {item.name for item in head.collection.objects}
    assert head.provenance["settings"]["resolution"] == 64
    assert head.provenance["camera" if "camera" in head.provenance else "capture_id"]
    assert colors_of(head.head.data).std() > 0.05
    head.head.location.x = 0
    bpy.context.view_layer.update()


def test_a_second_import_stands_beside_the_first(head, photo):
    known = {item.name: tuple(item.matrix_world.translation) for item in head.collection.objects}
    assert bpy.ops.head_capture.import_face(filepath=str(photo)) == {"FINISHED"}
    second = next(item for item in head_collections(bpy.context.scene) if item != head.collection)
    other = HeadScene.of(second)
    assert other.head.matrix_world.translation.x > head.head.matrix_world.translation.x + 0.3
    assert known == {item.name: tuple(item.matrix_world.translation) for item in head.collection.objects}

    # Which of both is meant is which is active.
    bpy.context.view_layer.objects.active = head.ring[0]
    assert "collins" in drawn("HEAD_CAPTURE_PT_head").texts()
    bpy.context.view_layer.objects.active = None
    assert "Select a captured head" in drawn("HEAD_CAPTURE_PT_head").texts()
    remove(other)
    bpy.context.view_layer.objects.active = head.head


@pytest.mark.parametrize(("turntable", "count"), [("ORBIT", 2), ("RING", 4)])
def test_a_turntable_leaves_the_scene_as_it_was(head, work, turntable, count):
    scene, settings = bpy.context.scene, bpy.context.scene.head_capture
    settings.turntable_path, settings.turntable_frames, settings.turntable_size = turntable, 2, 64
    settings.turntable_format = "PNG"
    kept = (scene.render.engine, scene.render.resolution_x, scene.view_settings.view_transform, scene.frame_current)
    assert bpy.ops.head_capture.render_turntable(filepath=str(work / turntable)) == {"FINISHED"}
    pictures = [np.asarray(Image.open(path).convert("RGB"), float) for path in sorted((work / turntable).iterdir())]
    assert len(pictures) == count
    assert np.abs(pictures[0] - pictures[1]).mean() > 3
    assert kept == (
        scene.render.engine,
        scene.render.resolution_x,
        scene.view_settings.view_transform,
        scene.frame_current,
    )
    assert [item.name for item in bpy.data.scenes] == [scene.name]


def test_a_video_gets_its_suffix(head, work):
    settings = bpy.context.scene.head_capture
    settings.turntable_path, settings.turntable_format, settings.turntable_size = "ORBIT", "MP4", 63  # odd: no H.264
    assert bpy.ops.head_capture.render_turntable(filepath=str(work / "turn")) == {"FINISHED"}
    assert b"ftyp" in (work / "turn.mp4").read_bytes()[:12]


@pytest.mark.parametrize("file_format", ["GLB", "OBJ", "PLY", "STL", "USD"])
def test_an_export_holds_the_head_alone_and_reads_back(head, work, file_format):
    import trimesh

    selected = [item.name for item in bpy.context.selected_objects]
    head.root.location.x = 3.0  # where it stands in the scene is not where it is in the file
    head.head.hide_set(True)
    bpy.context.view_layer.update()
    try:
        exported = work / f"anna {file_format}"
        assert bpy.ops.head_capture.export_head(filepath=str(exported), file_format=file_format) == {"FINISHED"}
    finally:
        head.root.location.x = 0.0
        head.head.hide_set(False)
        bpy.context.view_layer.update()
    (path,) = work.glob(f"anna {file_format}*")
    assert [item.name for item in bpy.context.selected_objects if item.name in selected] == selected
    assert not [item for item in bpy.data.objects if "export" in item.name]

    points = np.array([vertex.co for vertex in head.head.data.vertices])
    expected = np.column_stack([colors_of(head.head.data), points])
    if file_format == "USD":
        found = read_usd(path)
    else:
        mesh: Any = trimesh.load(path, force="mesh", process=False)
        vertices = np.asarray(mesh.vertices)
        # In files y is up; in STL millimetres, and z stays up.
        vertices = vertices / 1000 if file_format == "STL" else vertices
        if file_format in ("GLB", "OBJ"):
            vertices = np.column_stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]])
        found = np.column_stack([np.zeros((len(vertices), 3)), vertices])
        if file_format in ("OBJ", "PLY"):
            found[:, :3] = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    assert np.abs(found[:, 3:].min(0) - points.min(0)).max() < 1e-4
    assert np.abs(found[:, 3:].max(0) - points.max(0)).max() < 1e-4
    if file_format in ("OBJ", "PLY", "USD"):
        order = np.lexsort(np.round(found[:, 3:], 4).T), np.lexsort(np.round(expected[:, 3:], 4).T)
        assert np.abs(found[order[0], :3].mean(0) - expected[order[1], :3].mean(0)).max() < 2 / 255
        assert np.abs(found[:, :3].std(0) - expected[:, :3].std(0)).max() < 2 / 255


def read_usd(path: Path) -> np.ndarray:
    """Colours and points, as Blender reads them."""
    before = set(bpy.data.objects)
    bpy.ops.wm.usd_import(filepath=str(path))
    new = [item for item in bpy.data.objects if item not in before]
    (mesh,) = [item for item in new if item.type == "MESH"]
    matrix = np.array(mesh.matrix_world)
    points = np.array([vertex.co for vertex in mesh.data.vertices]) @ matrix[:3, :3].T + matrix[:3, 3]
    values = np.empty(len(mesh.data.vertices) * 4, np.float32)
    mesh.data.color_attributes["displayColor"].data.foreach_get("color_srgb", values)
    for item in new:
        bpy.data.objects.remove(item)
    return np.column_stack([values.reshape(-1, 4)[:, :3], points])


def test_what_is_wrong_is_said_in_a_sentence(preferences, head, work, photo):
    (work / "notes.jpg").write_text("no picture")
    Image.new("RGB", (300, 300), (90, 120, 90)).save(work / "meadow.png")
    wrong = {
        work / "nowhere.jpg": "There is no photo at",
        work / "notes.jpg": "not a picture",
        work / "meadow.png": "face",
    }
    count = len(bpy.data.objects)
    for path, words in wrong.items():
        with pytest.raises(RuntimeError) as caught:
            bpy.ops.head_capture.import_face(filepath=str(path))
        assert words in message(caught)
        assert sessions.current().running is None
    settings = bpy.context.scene.head_capture
    settings.model = "triplanenet-v2"
    with pytest.raises(RuntimeError, match="non-commercial"):
        bpy.ops.head_capture.import_face(filepath=str(photo))
    preferences.accept_non_commercial = True
    with pytest.raises(RuntimeError, match="not installed"):
        bpy.ops.head_capture.import_face(filepath=str(photo))
    preferences.accept_non_commercial = False
    settings.model = "file"
    with pytest.raises(RuntimeError, match="Choose your model file"):
        bpy.ops.head_capture.import_face(filepath=str(photo))
    settings.model = "synthetic-heads"
    assert len(bpy.data.objects) == count


def test_a_head_whose_capture_is_gone_says_so(head):
    kept = head.head["head_capture_provenance"]
    try:
        head.head["head_capture_provenance"] = json.dumps({**head.provenance, "capture_id": "0" * 32})
        with pytest.raises(RuntimeError, match="import the photo again"):
            bpy.ops.head_capture.remesh(resolution=32)
        head.head["head_capture_provenance"] = json.dumps({})
        with pytest.raises(RuntimeError, match="import its photo again"):
            bpy.ops.head_capture.remesh(resolution=32)
    finally:
        head.head["head_capture_provenance"] = kept


class SlowWork:
    """Work that is done when it was stepped often enough."""

    def __init__(self, steps: int) -> None:
        self.left, self.state, self.stage, self.error = steps, "running", "Making the mesh", ""
        self.warnings: list[str] = []
        self.fraction = 0.0

    def step(self, seconds: float = 0.0) -> bool:
        if self.state == "running":
            self.left -= 1
            self.fraction += 0.1
            if self.left <= 0:
                self.state = "done"
        return self.state != "running"

    def cancel(self) -> None:
        self.state = "cancelled"


@pytest.fixture
def stepped(preferences, monkeypatch) -> Iterator[SimpleNamespace]:
    """An operator as Blender's window would run it, and what it reported."""
    from blender_addon.operators.stepping import Stepped

    manager = SimpleNamespace(
        timers=[], event_timer_add=lambda seconds, window: "timer", modal_handler_add=lambda o: True
    )
    said: list[str] = []
    context = SimpleNamespace(
        window_manager=manager,
        window=None,
        workspace=SimpleNamespace(status_text_set=said.append),
        mode="OBJECT",
    )
    reports: list[tuple[str, str]] = []
    operator = Stepped()
    operator.title = "Import Face from Photo"
    operator.work = SlowWork(3)  # type: ignore[attr-defined]
    operator.create = lambda context, folder: operator.work  # type: ignore[attr-defined]
    operator.build = lambda context, work: "built"
    operator.report = lambda kind, text: reports.append((*kind, text))  # type: ignore[attr-defined]
    fake_app = SimpleNamespace(background=False)
    monkeypatch.setattr("blender_addon.operators.stepping.bpy", SimpleNamespace(app=fake_app))
    yield SimpleNamespace(operator=operator, context=context, reports=reports, said=said, work=operator.work)  # type: ignore[attr-defined]
    sessions.current().end()


TIMER = SimpleNamespace(type="TIMER", value="NOTHING")
ESCAPE = SimpleNamespace(type="ESC", value="PRESS")
MOUSE = SimpleNamespace(type="MOUSEMOVE", value="NOTHING")


def test_in_a_window_the_work_goes_on_beside_the_artist(stepped):
    operator, context = stepped.operator, stepped.context
    assert operator.invoke(context, None) == {"RUNNING_MODAL"}
    running = sessions.current().running
    assert running is not None
    assert running.folder.is_dir()
    assert operator.modal(context, MOUSE) == {"PASS_THROUGH"}
    assert operator.modal(context, TIMER) == {"PASS_THROUGH"}
    layout = drawn("HEAD_CAPTURE_PT_photo")
    assert layout.operators()["head_capture.cancel"]
    assert "head_capture.import_face" not in layout.operators()
    assert any(function == "progress" for function, _, _ in layout.all())
    assert "Import Face from Photo: Making the mesh (10%)   Esc: Cancel" in stepped.said
    assert operator.modal(context, TIMER) == {"PASS_THROUGH"}
    assert operator.modal(context, TIMER) == {"FINISHED"}
    assert stepped.reports == [("INFO", "built")]
    assert stepped.said[-1] is None
    assert sessions.current().running is None
    assert not running.folder.exists()


def test_escape_and_the_button_stop_it(stepped):
    operator, context = stepped.operator, stepped.context
    operator.invoke(context, None)
    operator.modal(context, ESCAPE)
    assert stepped.work.state == "cancelled"
    assert operator.modal(context, TIMER) == {"CANCELLED"}
    assert stepped.reports == [("INFO", "Cancelled")]
    assert sessions.current().running is None

    operator.work = SlowWork(3)
    operator.invoke(context, None)
    assert bpy.ops.head_capture.cancel() == {"FINISHED"}
    assert operator.modal(context, TIMER) == {"CANCELLED"}
    assert sessions.current().running is None


def test_the_head_waits_for_object_mode(stepped):
    operator, context = stepped.operator, stepped.context
    stepped.work.left = 1
    operator.invoke(context, None)
    context.mode = "SCULPT"
    assert operator.modal(context, TIMER) == {"PASS_THROUGH"}
    running = sessions.current().running
    assert running is not None
    assert running.stage == "Waiting for Object Mode"
    assert operator.modal(context, TIMER) == {"PASS_THROUGH"}
    context.mode = "OBJECT"
    assert operator.modal(context, TIMER) == {"FINISHED"}


def test_whatever_breaks_the_panel_is_free_again(stepped):
    operator, context = stepped.operator, stepped.context

    def broken(context: Any, work: Any) -> str:
        raise KeyError("what nobody thought of")

    operator.build = broken
    stepped.work.left = 1
    operator.invoke(context, None)
    assert operator.modal(context, TIMER) == {"CANCELLED"}
    assert stepped.reports[0][0] == "ERROR"
    assert sessions.current().running is None

    operator.work = SlowWork(1)
    operator.work.state, operator.work.error = "failed", "The photo shows no face."
    operator.invoke(context, None)
    assert operator.modal(context, TIMER) == {"CANCELLED"}
    assert stepped.reports[-1] == ("ERROR", "The photo shows no face.")


def test_only_one_head_is_made_at_a_time(stepped, photo):
    stepped.operator.invoke(stepped.context, None)
    assert not bpy.ops.head_capture.import_face.poll()
    assert not bpy.ops.head_capture.set_up_engine.poll()
    stepped.operator.invoke(stepped.context, None)
    assert stepped.reports[-1][1].startswith("A head is being made already")


def test_a_closed_window_ends_the_work(stepped):
    stepped.operator.invoke(stepped.context, None)
    stepped.operator.cancel(stepped.context)
    assert stepped.work.state == "cancelled"
    assert sessions.current().running is None


def test_another_file_ends_the_work(stepped, work):
    kept = work / "kept.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(kept))
    stepped.operator.invoke(stepped.context, None)
    bpy.ops.wm.open_mainfile(filepath=str(kept))
    assert stepped.work.state == "cancelled"
    assert stepped.operator.modal(stepped.context, TIMER) == {"CANCELLED"}
    assert bpy.ops.head_capture.import_face.poll()


def test_the_doctor_speaks_and_memory_is_released(preferences, head):
    from blender_addon.operators.engine import report_text

    assert bpy.ops.head_capture.doctor() == {"FINISHED"}
    assert "The model synthetic-heads is here and verified" in report_text()
    assert bpy.ops.head_capture.release_memory() == {"FINISHED"}
    assert bpy.ops.head_capture.stop_engine() == {"FINISHED"}
    assert not bpy.ops.head_capture.release_memory.poll()


def test_switching_off_ends_everything(work):
    """The last: other tests need the extension."""
    session = sessions.current()
    waiting = SlowWork(5)
    session.begin("Import Face from Photo", lambda folder: waiting)
    bpy.ops.preferences.addon_disable(module=MODULE)
    try:
        assert waiting.state == "cancelled"
        assert session.running is None
        assert not hasattr(bpy.types.Scene, "head_capture")
        assert not hasattr(bpy.types, "HEAD_CAPTURE_PT_photo")
    finally:
        bpy.ops.preferences.addon_enable(module=MODULE)
    shutil.rmtree(work / "captures", ignore_errors=True)
