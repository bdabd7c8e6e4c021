# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From scikit-image's photo of an astronaut to a head, a Blender scene, a turntable and contact sheets."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import skimage.data
from PIL import Image
from sheet import TILE, contact_sheet

from tpn_engine import Capture, Engine, HeadMesh

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the add-on lies, which is never installed

FRAMES, SIZE = 48, 512
YAWS = (-60, -30, 30, 60)  # degrees, from which the mesh is shown
SHAPE_YAW = 30
AROUND, ROW = 12, 6  # pictures of the mesh in a turn, and in a row of the sheet
BACKDROP = (0.03, 0.031, 0.034)  # linear; dark grey lets dark hair and pale skin stand out alike


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    photo = out / "astronaut.jpg"  # Eileen Collins; NASA, public domain
    Image.fromarray(skimage.data.astronaut()).save(photo, quality=95)
    with step("Photo to capture"):
        capture = Engine.load().capture(photo)
    with step("Capture to head.glb and head.obj"):
        mesh = capture.mesh()
        mesh.save(out / "head.glb")
        mesh.save(out / "head.obj")
    with step("The source camera's view"):
        source = capture.render(size=TILE)
    with tempfile.TemporaryDirectory() as scratch, step("Blender: head.blend and turntable.mp4"):
        front, sides, turn = blender_part(capture, mesh, out, Path(scratch))
    crop = Image.fromarray(capture.crop)
    first_row = [("portrait", Image.open(photo)), ("aligned crop", crop), ("source view", source)]
    contact_sheet([first_row + front, sides]).save(out / "sheet.png")
    contact_sheet([turn[at : at + ROW] for at in range(0, AROUND, ROW)]).save(out / "around.png")
    print(
        f"Done: see {out / 'sheet.png'}, {out / 'around.png'}, {out / 'turntable.mp4'}, {out / 'head.blend'}",
        flush=True,
    )


Captioned = list[tuple[str, Image.Image]]


def blender_part(capture: Capture, mesh: HeadMesh, out: Path, scratch: Path) -> tuple[Captioned, Captioned, Captioned]:
    """Builds and saves the scene, renders the turntable; returns pictures of the mesh: front, sides, all around."""
    os.environ["BLENDER_USER_RESOURCES"] = str(scratch / "profile")  # not the user's own Blender settings
    with output_to(out / "blender.log"):
        import bpy

        from blender_addon.scene import HeadArrays, RenderOptions, build_head, render_orbit, render_still
        from blender_addon.scene.cameras import around, frame_head

        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        Image.fromarray(capture.crop).save(scratch / "crop.png")
        arrays = HeadArrays(mesh.vertices, mesh.triangles, mesh.colors)
        label, provenance = capture.camera.label, capture.provenance
        head = build_head(scene, "astronaut", arrays, label, scratch / "crop.png", provenance, frames=FRAMES)
        scene.render.resolution_x = scene.render.resolution_y = SIZE
        scene.frame_end = FRAMES
        scene.view_settings.view_transform = "Standard"
        scene.display.render_aa = "5"  # without a GPU, the time of a frame is that of its samples
        scene.world = bpy.data.worlds.new("backdrop")
        scene.world.color = BACKDROP
        for screen in bpy.data.screens:
            for area in screen.areas:
                if area.type == "VIEW_3D":
                    area.spaces.active.shading.type = "MATERIAL"
        scene.frame_set(1)
        bpy.ops.wm.save_as_mainfile(filepath=str((out / "head.blend").absolute()), compress=True)

        render_orbit(scene, head, out / "turntable.mp4", RenderOptions(width=SIZE, height=SIZE), FRAMES)
        camera, framing = head.ring[0], frame_head(mesh.vertices)

        def seen(caption: str, yaw: float, options: RenderOptions) -> tuple[str, Image.Image]:
            camera.matrix_basis = around(framing, math.radians(yaw))
            render_still(scene, head, camera, scratch / "mesh.png", options)
            return caption, Image.open(scratch / "mesh.png").convert("RGB")

        clay = RenderOptions(look="clay")
        front = [seen("head mesh, front", 0, RenderOptions()), seen("its shape, front", 0, clay)]
        sides = [seen(f"{yaw:+d}°", yaw, RenderOptions()) for yaw in YAWS]
        sides.append(seen(f"its shape, {SHAPE_YAW:+d}°", SHAPE_YAW, clay))
        render_orbit(scene, head, scratch / "around", RenderOptions(width=TILE, height=TILE), AROUND)
        files = sorted((scratch / "around").glob("*.png"))
        turn = [(f"{360 * at // AROUND}°", Image.open(file).convert("RGB")) for at, file in enumerate(files)]
        return front, sides, turn


@contextmanager
def step(what: str) -> Iterator[None]:
    """Says what is being done and how long it took."""
    print(f"{what} ...", end=" ", flush=True)
    started = time.perf_counter()
    yield
    print(f"{time.perf_counter() - started:.1f} s", flush=True)


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Sends what Blender and the graphics driver print to a file: they tell of every frame."""
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


if __name__ == "__main__":
    main()
