# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From scikit-image's photo of an astronaut to a head, a Blender scene, a turntable and contact sheets."""

from __future__ import annotations

import argparse
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
YAWS = (-40, -20, 20, 40)
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
    with step("Views around the head"):
        source = capture.render(size=TILE)
        views = [(f"{yaw:+d}°", capture.render(yaw=yaw, size=TILE)) for yaw in YAWS]
    with tempfile.TemporaryDirectory() as scratch, step("Blender: head.blend and turntable.mp4"):
        meshes, around = blender_part(capture, mesh, out, Path(scratch))
    crop = Image.fromarray(capture.crop)
    first_row = [("portrait", Image.open(photo)), ("aligned crop", crop), ("source view", source)]
    contact_sheet([first_row + meshes[:2], views + meshes[2:]]).save(out / "sheet.png")
    contact_sheet([around[at : at + ROW] for at in range(0, AROUND, ROW)]).save(out / "around.png")
    print(
        f"Done: see {out / 'sheet.png'}, {out / 'around.png'}, {out / 'turntable.mp4'}, {out / 'head.blend'}",
        flush=True,
    )


Captioned = list[tuple[str, Image.Image]]


def blender_part(capture: Capture, mesh: HeadMesh, out: Path, scratch: Path) -> tuple[Captioned, Captioned]:
    """Builds and saves the scene, renders the turntable; returns some pictures of the mesh, and some all around it."""
    os.environ["BLENDER_USER_RESOURCES"] = str(scratch / "profile")  # not the user's own Blender settings
    with output_to(out / "blender.log"):
        import bpy

        from blender_addon.scene import HeadArrays, RenderOptions, build_head, render_orbit, render_still

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
        pictures = []
        for caption, camera, options in (
            ("head mesh, front", head.ring[0], RenderOptions()),
            ("head mesh, 45°", head.ring[1], RenderOptions()),
            ("its shape, 45°", head.ring[1], RenderOptions(look="clay")),
        ):
            render_still(scene, head, camera, scratch / "mesh.png", options)
            pictures.append((caption, Image.open(scratch / "mesh.png").convert("RGB")))
        render_orbit(scene, head, scratch / "around", RenderOptions(width=TILE, height=TILE), AROUND)
        files = sorted((scratch / "around").glob("*.png"))
        around = [(f"{360 * at // AROUND}°", Image.open(file).convert("RGB")) for at, file in enumerate(files)]
        return pictures, around


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
