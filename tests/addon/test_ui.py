"""What the panels and the preferences show, in each state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bpy  # isort: skip  # after conftest gave it a profile
import egg
from installed import drawn, switched_on
from recording_layout import RecordingLayout

from blender_addon import session as sessions
from blender_addon import words
from blender_addon.properties import METHODS
from blender_addon.scene import HeadArrays, HeadScene, build_head
from blender_addon.ui import menus, thumbnails
from blender_addon.ui import preferences as preferences_ui
from tpn_engine.camera import Camera

PHOTO_PANEL, HEAD_PANEL = "HEAD_CAPTURE_PT_photo", "HEAD_CAPTURE_PT_head"


@pytest.fixture
def preferences(tmp_path: Path) -> Iterator[Any]:
    with switched_on(tmp_path) as preferences:
        yield preferences


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "anna.png"
    Image.new("RGB", (64, 64), (200, 150, 120)).save(path)
    return path


def a_head(folder: Path, name: str = "anna", **settings: Any) -> HeadScene:
    """An egg in place of a head."""
    Image.new("RGB", (64, 64)).save(folder / "crop.png")
    mesh = egg.arrays(12, 16)
    arrays = HeadArrays(mesh["vertices"], mesh["triangles"], mesh["colors"])
    asked = {"model": "synthetic-heads", "method": "refine_fit", "resolution": 256, "colors": "model", **settings}
    provenance = {"capture_id": "1" * 32, "settings": asked, "warnings": ["The face is small."]}
    label = Camera.orbit(0, 0).label
    return build_head(bpy.context.scene, name, arrays, np.array(label), folder / "crop.png", provenance, ring=3)


def preferences_drawn(preferences: Any) -> RecordingLayout:
    layout = RecordingLayout()
    preferences_ui.draw_preferences(layout, bpy.context, preferences)
    return layout


def flat(layout: RecordingLayout) -> str:
    return layout.texts().replace("\n", " ")


def test_without_an_engine_the_panel_offers_to_set_it_up(preferences, monkeypatch):
    preferences.engine_python = ""
    preferences.wheel_folder = "/tmp"
    layout = drawn(PHOTO_PANEL)
    assert layout.operators()["head_capture.set_up_engine"]
    assert "head_capture.import_face" not in layout.operators()
    assert "your photos never leave this computer" in flat(layout)
    bpy.context.scene.head_capture.photo = __file__
    with pytest.raises(RuntimeError, match="not set up yet"):
        bpy.ops.head_capture.import_face()


def test_offline_and_without_wheels_the_panel_says_what_to_do(preferences):
    preferences.engine_python = preferences.wheel_folder = ""
    if bpy.app.online_access:
        pytest.skip("this Blender may go online")
    layout = drawn(PHOTO_PANEL)
    assert "head_capture.set_up_engine" not in layout.operators()
    assert "Allow Online Access" in flat(layout)
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.head_capture.set_up_engine()
    assert not preferences_drawn(preferences).operators()["head_capture.set_up_engine"]


def test_a_failed_set_up_is_explained_where_it_was_started(preferences, tmp_path):
    preferences.engine_python, preferences.wheel_folder = "", str(tmp_path)
    preferences.base_python = str(tmp_path / "python")
    with pytest.raises(RuntimeError, match="can't be started"):
        bpy.ops.head_capture.set_up_engine()
    assert "can't be started" in flat(drawn(PHOTO_PANEL))
    assert "can't be started" in flat(preferences_drawn(preferences))
    assert drawn(PHOTO_PANEL).operators()["head_capture.set_up_engine"]
    sessions.current().setup = None


def test_while_it_is_set_up_the_panel_shows_how_far(preferences):
    job = SimpleNamespace(
        state="running", stage="Installing the engine", fraction=None, lines=["Collecting torch"], error=""
    )
    job.cancel = lambda: setattr(job, "state", "cancelled")
    session = sessions.current()
    session.setup, session.setup_title = job, "Set Up Engine"
    try:
        for layout in (drawn(PHOTO_PANEL), preferences_drawn(preferences)):
            assert layout.operators()["head_capture.cancel_setup"]
            assert "Installing the engine" in layout.texts()
            assert "Collecting torch" in layout.texts()
            assert "head_capture.set_up_engine" not in layout.operators()
        assert not bpy.ops.head_capture.repair_engine.poll()
        bpy.ops.head_capture.cancel_setup()
        assert job.state == "cancelled"
    finally:
        session.setup = None


def test_the_button_asks_for_a_photo_and_then_imports_it(preferences, photo, monkeypatch):
    # Blender makes no icons without a window.
    monkeypatch.setattr("blender_addon.ui.photo_panel.thumbnail", lambda path: 7 if path == photo else 0)
    layout = drawn(PHOTO_PANEL)
    assert layout.operators()["head_capture.choose_photo"]
    assert layout.operators()["head_capture.import_face_from_file"]
    bpy.context.scene.head_capture.photo = str(photo)
    layout = drawn(PHOTO_PANEL)
    assert layout.operators()["head_capture.import_face"]
    assert "anna.png" in layout.texts()
    (icon,) = [given["icon_value"] for function, given, _ in layout.all() if function == "template_icon"]
    assert icon == 7
    assert thumbnails.thumbnail(photo) == 0
    bpy.ops.head_capture.forget_photo()
    assert bpy.context.scene.head_capture.photo == ""


def test_a_photo_blender_cannot_show_is_named(preferences, tmp_path):
    bpy.context.scene.head_capture.photo = str(tmp_path / "missing.heic")
    layout = drawn(PHOTO_PANEL)
    assert "missing.heic" in layout.texts()
    assert not [1 for function, _, _ in layout.all() if function == "template_icon"]


def test_the_choices_that_matter_are_open_and_the_others_folded(preferences):
    assert drawn(PHOTO_PANEL, open_panels=False).fields() == {"model", "quality"}
    folded = {"method", "colors", "face", "level", "ring", "frames", "solid_colors"}
    assert drawn(PHOTO_PANEL).fields() == {"model", "quality"} | folded
    bpy.context.scene.head_capture.quality = "CUSTOM"
    assert "custom_resolution" in drawn(PHOTO_PANEL).fields()


def test_only_what_is_fitted_has_a_time_limit(preferences):
    settings = bpy.context.scene.head_capture
    settings.time_limit = 30
    found = {}
    for method, *_ in METHODS:
        settings.method = method
        assert ("time_limit" in drawn(PHOTO_PANEL).fields()) == (settings.fit_seconds == 30)
        found[method] = settings.fit_seconds
    assert {method for method, seconds in found.items() if seconds} == {"refine_fit", "latent", "pivotal_tuning"}
    settings.time_limit = 0
    assert settings.fit_seconds is None


def test_non_commercial_models_want_a_tick(preferences):
    settings = bpy.context.scene.head_capture
    settings.model = "triplanenet-v2"
    assert "accept_non_commercial" in drawn(PHOTO_PANEL).fields()
    preferences.accept_non_commercial = True
    assert "accept_non_commercial" not in drawn(PHOTO_PANEL).fields()
    settings.model = "file"
    assert "model_file" in drawn(PHOTO_PANEL).fields()


def test_qualities_are_the_numbers_they_say(preferences):
    settings = bpy.context.scene.head_capture
    found = {}
    for quality in ("DRAFT", "STANDARD", "FINE", "CUSTOM"):
        settings.quality = quality
        found[quality] = settings.resolution
    assert found == {"DRAFT": 128, "STANDARD": 256, "FINE": 384, "CUSTOM": 320}


def test_the_panels_of_a_head_come_with_the_head(preferences, tmp_path):
    panels = (HEAD_PANEL, "HEAD_CAPTURE_PT_turntable", "HEAD_CAPTURE_PT_export")
    assert not any(drawn(panel).calls for panel in panels)
    a_head(tmp_path)
    layout = drawn(HEAD_PANEL)
    assert "The face is small." in flat(layout)
    assert "Synthetic Heads · Best" in flat(layout)
    button = layout.buttons.get("head_capture.remesh") or next(
        part.buttons["head_capture.remesh"] for part in parts(layout) if "head_capture.remesh" in part.buttons
    )
    assert button.colors == "model"
    assert drawn("HEAD_CAPTURE_PT_turntable").operators() == {"head_capture.render_turntable": True}
    exports = drawn("HEAD_CAPTURE_PT_export")
    assert exports.texts().split() == ["GLB", "OBJ", "PLY", "STL", "USD"]


def parts(layout: RecordingLayout) -> Iterator[RecordingLayout]:
    for part in layout.parts:
        yield part
        yield from parts(part)


def test_the_view_transform_is_offered_where_it_changes_colors(preferences, tmp_path):
    a_head(tmp_path)
    view = bpy.context.scene.view_settings
    view.view_transform = "AgX"
    assert "view_transform" in drawn(HEAD_PANEL).fields()
    view.view_transform = "Standard"
    assert "view_transform" not in drawn(HEAD_PANEL).fields()


def test_two_heads_ask_which_and_a_broken_one_says_so(preferences, tmp_path):
    first, second = a_head(tmp_path), a_head(tmp_path, "berta")
    assert "Select a captured head" in drawn(HEAD_PANEL).texts()
    assert not bpy.ops.head_capture.export_head.poll()
    bpy.context.view_layer.objects.active = second.ring[1]
    assert "berta" in drawn(HEAD_PANEL).texts()
    bpy.context.view_layer.objects.active = first.head
    bpy.data.objects.remove(first.orbit)
    assert "import the portrait again" in flat(drawn(HEAD_PANEL))
    with pytest.raises(RuntimeError, match="import the portrait again"):
        bpy.ops.head_capture.remesh(resolution=32)


def test_menu_status_bar_and_drop(preferences):
    layout = RecordingLayout()
    menus.draw_import(SimpleNamespace(layout=layout), bpy.context)
    assert layout.operators() == {"head_capture.import_face_from_file": True}

    idle = RecordingLayout()
    menus.draw_status_bar(SimpleNamespace(layout=idle), bpy.context)
    assert not idle.calls

    handler = bpy.types.HEAD_CAPTURE_FH_photo
    assert handler.bl_import_operator == "head_capture.import_face"
    assert {".jpg", ".png", ".webp"} <= set(handler.bl_file_extensions.split(";"))
    assert handler.poll_drop(SimpleNamespace(area=SimpleNamespace(type="VIEW_3D")))
    assert not handler.poll_drop(SimpleNamespace(area=SimpleNamespace(type="IMAGE_EDITOR")))
    assert not handler.poll_drop(SimpleNamespace(area=None))
    properties = bpy.ops.head_capture.import_face.get_rna_type().properties
    assert properties["filepath"].is_skip_save


def test_the_preferences_show_everything_unfolded(preferences):
    preferences.show_setup = preferences.show_lines = True
    session = sessions.current()
    job = SimpleNamespace(state="failed", error="The disk is full.", lines=[f"line {i}" for i in range(50)])
    session.setup, session.setup_title = job, "Set Up Engine"
    session.doctor = SimpleNamespace(state="done", error="", lines=["Videos can be written as H.264."])
    try:
        layout = preferences_drawn(preferences)
        assert {
            "base_python",
            "wheel_folder",
            "engine_python",
            "device",
            "model_file",
            "cache_folder",
        } <= layout.fields()
        assert "The disk is full." in flat(layout)
        assert "line 49" in layout.texts()
        assert "line 3\n" not in layout.texts()
        assert "Videos can be written as H.264." in flat(layout)
        assert bpy.ops.head_capture.copy_report() == {"FINISHED"}
    finally:
        session.setup = session.doctor = None


def test_sentences_are_wrapped_to_the_width():
    text = "Heads are made by an engine on this computer."
    lines = words.wrap(text, 20)
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 20
    assert words.wrap("画像から頭部を作るエンジンです", 10) == ["画像から頭", "部を作るエ", "ンジンです"]
    assert words.wrap("", 20) == []
