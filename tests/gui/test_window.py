"""An artist's way through a real Blender window: mouse and keyboard of a virtual screen, the zip, a real engine.

Screenshots are kept in `.gui/pictures`. The timings hold for two cores that have nothing else to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from blender_window import REPOSITORY, BlenderWindow
from PIL import Image
from skimage import data

EXTENSION = "bl_ext.user_default.head_capture"
ENGINE_PYTHON = REPOSITORY / ".venv" / "bin" / "python"
STALL = 1 / 5  # of an import, between two turns of Blender's loop; one that waits for the engine stalls for all of it
MIDDLE = 400, 400  # of the viewport

HEADS = "[item.name for item in bpy.data.collections if item.name.startswith('Head - ')]"
RUNNING = f"__import__('sys').modules['{EXTENSION}.session'].current().running"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same face cropped differently: for the engine, photos it has not seen."""
    folder = tmp_path_factory.mktemp("photos")
    portrait = Image.fromarray(data.astronaut())  # Eileen Collins; NASA, public domain
    paths = [folder / f"{name}.jpg" for name in ("Eileen Collins", "Second", "Third", "Fourth", "Fifth", "Sixth")]
    for index, path in enumerate(paths):
        portrait.crop((index, 0, 512 - index, 512)).save(path, quality=95)
    return paths


@pytest.fixture(scope="module")
def window(
    root: Path, extension: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BlenderWindow]:
    """Blender with the zip installed and the sidebar open at our tab."""
    work = tmp_path_factory.mktemp("work")
    blender = BlenderWindow(root, work, folders=[extension.parent, photos[0].parent])
    try:
        blender.run(f"""
bpy.ops.extensions.package_install_files(filepath={str(extension)!r}, repo="user_default", enable_on_install=True)
preferences = bpy.context.preferences.addons["{EXTENSION}"].preferences
preferences.engine_python = {str(ENGINE_PYTHON)!r}
preferences.cache_folder = {str(work / "captures")!r}
preferences.device = "cpu"
for item in list(bpy.data.objects):
    bpy.data.objects.remove(item)
with view3d():
    bpy.context.space_data.show_region_ui = True
""")
        blender.open_tab("Head Capture")
        yield blender
    finally:
        blender.close()


def choose(window: BlenderWindow, photo: Path) -> None:
    window.run(f"bpy.context.scene.head_capture.photo = {str(photo)!r}")
    window.settle()


def test_the_button_brings_a_head(window, photos, pictures):
    choose(window, photos[0])
    window.screenshot(pictures / "1 panel.png")
    window.click_button("head_capture.import_face")
    window.until(f"{RUNNING} is not None", 30)
    window.until(f"{RUNNING} is None or {RUNNING}.work.fraction > 0.3")
    window.screenshot(pictures / "2 import.png")
    assert window.until(HEADS) == ["Head - Eileen Collins"]
    window.until(f"{RUNNING} is None")
    window.run("""
from mathutils import Euler
bpy.context.scene.view_settings.view_transform = "Standard"
with view3d():
    space = bpy.context.space_data
    space.shading.type = "MATERIAL"
    space.overlay.show_overlays = False
    space.region_3d.view_rotation = Euler((1.45, 0.0, -0.45)).to_quaternion()
    bpy.ops.view3d.view_selected()
""")
    window.settle()
    window.screenshot(pictures / "3 result.png")


def test_one_undo_takes_it_away(window):
    window.run('with view3d():\n    bpy.context.space_data.shading.type = "SOLID"')
    window.move(*MIDDLE)
    window.key("ctrl+z")
    window.until(f"not {HEADS}")
    window.key("ctrl+shift+z")
    assert window.until(HEADS) == ["Head - Eileen Collins"]


def test_the_window_goes_on_while_a_head_is_made(window, photos, pictures):
    choose(window, photos[1])
    x, y = window.find_button("head_capture.import_face")
    window.run("turns.clear()")
    begun = time.monotonic()
    window.click(x, y)
    window.until(f"len({HEADS}) == 2")
    seconds = time.monotonic() - begun
    window.settle()
    times = window.run("answer = list(turns)")
    gaps = [after - before for before, after in pairwise(times)]
    print(f"click to head {seconds:.1f} s, longest stall {max(gaps):.2f} s of {len(gaps)} turns")
    window.screenshot(pictures / "4 second head.png")
    assert max(gaps) <= STALL * seconds


@pytest.mark.parametrize("way", ["button", "escape"])
def test_an_import_can_be_stopped(window, photos, pictures, way):
    choose(window, photos[2 if way == "button" else 3])
    window.run("bpy.context.scene.head_capture.quality = 'FINE'")
    before = window.run(f"answer = {HEADS}")
    window.click_button("head_capture.import_face")
    window.until(f"{RUNNING} is not None", 30)
    if way == "button":
        window.click_button("head_capture.cancel")
        window.screenshot(pictures / "5 cancel.png")
    else:
        window.move(*MIDDLE)
        window.key("Escape")
    window.until(f"{RUNNING} is None", 30)
    time.sleep(1)
    assert window.run(f"answer = {HEADS}") == before
    window.run("bpy.context.scene.head_capture.quality = 'STANDARD'")


def test_a_photo_dragged_onto_the_viewport_is_imported(window, photos, pictures):
    """From another program, by the desktop's own protocol. Blender asks what the picture shall be: I for our import."""
    count = len(window.run(f"answer = {HEADS}"))
    window.drop_file(photos[4], *MIDDLE)
    window.settle()
    window.screenshot(pictures / "6 dropped.png")
    window.key("i")
    window.until(f"len({HEADS}) == {count + 1}")


def test_the_engine_ends_with_blender(window, photos):
    """Last: Blender is killed in the middle of an import."""
    engine = window.engine()
    assert engine
    choose(window, photos[5])
    window.click_button("head_capture.import_face")
    window.until(f"{RUNNING} is not None", 30)
    window.kill_blender()
    begun = time.monotonic()
    _, alive = psutil.wait_procs(engine, timeout=10)
    print(f"kill -9 to no engine {time.monotonic() - begun:.1f} s, {len(engine)} processes")
    assert not alive
