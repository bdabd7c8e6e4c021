# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and turntables of one captured head, from a throwaway copy of the scene.

Rendering from a copy leaves all settings of the user's own scene as they are, whatever happens.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import bpy

from .assemble import HeadScene, head_collections
from .turntable import bind_markers, turning

Engine = Literal["WORKBENCH", "EEVEE", "CYCLES"]
Look = Literal["colors", "shaded", "clay"]

CLAY = (0.55, 0.52, 0.5)


@dataclass(frozen=True)
class RenderOptions:
    """How to render. `look` is Workbench's: the photo's colours, the same lit, or bare clay lit.

    The photo's colours are exact only with `view_transform` Standard; Scene keeps the scene's own.
    """

    engine: Engine = "WORKBENCH"
    look: Look = "colors"
    width: int = 512
    height: int = 512
    fps: int = 24
    samples: int = 16
    transparent: bool = False
    view_transform: Literal["STANDARD", "SCENE"] = "STANDARD"


def render_still(
    scene: bpy.types.Scene,
    head: HeadScene,
    camera: bpy.types.Object,
    path: str | os.PathLike[str],
    options: RenderOptions,
) -> None:
    """One PNG of the head through `camera`."""
    path = Path(path)
    with throwaway_scene(scene, head, options) as stage, _folder_beside(path) as folder:
        stage.camera = camera
        _write_png(stage, options)
        unfinished = folder / "still.png"
        stage.render.filepath = str(unfinished)
        bpy.ops.render.render(write_still=True, scene=stage.name)
        os.replace(unfinished, path)


def render_orbit(
    scene: bpy.types.Scene,
    head: HeadScene,
    path: str | os.PathLike[str],
    options: RenderOptions,
    frames: int,
) -> None:
    """One full turn of the orbit camera in `frames` frames: an .mp4, or a folder of PNG files."""
    with throwaway_scene(scene, head, options) as stage, turning(head.pivot, 1, frames):
        stage.camera = head.orbit
        _render_animation(stage, Path(path), options, frames)


def render_ring(scene: bpy.types.Scene, head: HeadScene, path: str | os.PathLike[str], options: RenderOptions) -> None:
    """One frame from each camera of the ring: an .mp4, or a folder of PNG files."""
    with throwaway_scene(scene, head, options) as stage:
        bind_markers(stage, list(head.ring), 1)
        _render_animation(stage, Path(path), options, len(head.ring))


@contextmanager
def throwaway_scene(scene: bpy.types.Scene, head: HeadScene, options: RenderOptions) -> Iterator[bpy.types.Scene]:
    """The scene of `create_stage`, for a while."""
    stage = create_stage(scene, head, options)
    try:
        yield stage
    finally:
        bpy.data.scenes.remove(stage)


def create_stage(scene: bpy.types.Scene, head: HeadScene, options: RenderOptions) -> bpy.types.Scene:
    """A copy of `scene`, set up for `options`, that shows no other captured head and has no markers."""
    stage = scene.copy()
    try:
        stage.timeline_markers.clear()
        others = {collection for collection in head_collections(scene) if collection != head.collection}
        for view_layer in stage.view_layers:
            _exclude(view_layer.layer_collection, others)
        _set_up(stage, options)
    except BaseException:
        bpy.data.scenes.remove(stage)
        raise
    return stage


def _exclude(layer: bpy.types.LayerCollection, collections: set[bpy.types.Collection]) -> None:
    for child in layer.children:
        if child.collection in collections:
            child.exclude = True
        else:
            _exclude(child, collections)


def _set_up(stage: bpy.types.Scene, options: RenderOptions) -> None:
    render = stage.render
    render.resolution_x, render.resolution_y = options.width, options.height
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.fps, render.fps_base = options.fps, 1.0
    render.film_transparent = options.transparent
    render.use_compositing = render.use_sequencer = False
    render.use_border = render.use_multiview = render.use_stamp = False
    render.dither_intensity = 0.0
    render.use_file_extension = render.use_overwrite = True
    render.use_placeholder = False
    stage.frame_step = 1
    if options.view_transform == "STANDARD":
        stage.display_settings.display_device = "sRGB"
        view = stage.view_settings
        view.view_transform, view.look = "Standard", "None"
        view.exposure, view.gamma = 0.0, 1.0
        view.use_curve_mapping = False

    if options.engine == "CYCLES":
        render.engine = "CYCLES"
        stage.cycles.samples = options.samples
    elif options.engine == "EEVEE":
        render.engine = "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT"
        stage.eevee.taa_render_samples = options.samples
    else:
        render.engine = "BLENDER_WORKBENCH"
        _set_up_workbench(stage.display.shading, options.look)


def _set_up_workbench(shading: bpy.types.View3DShading, look: Look) -> None:
    shading.light = "FLAT" if look == "colors" else "STUDIO"
    shading.color_type = "SINGLE" if look == "clay" else "VERTEX"
    shading.single_color = CLAY
    shading.show_cavity = look == "clay"
    shading.show_specular_highlight = look == "clay"
    shading.show_shadows = shading.show_object_outline = shading.show_xray = False
    shading.use_dof = False


def _render_animation(stage: bpy.types.Scene, path: Path, options: RenderOptions, frames: int) -> None:
    with _folder_beside(path) as folder:
        set_output(stage, path, folder, options, frames)
        bpy.ops.render.render(animation=True, scene=stage.name)
        take_output(path, folder)


def set_output(stage: bpy.types.Scene, path: Path, folder: Path, options: RenderOptions, frames: int) -> None:
    """Has frames 1 to `frames` written into `folder`, as what `path` names: an .mp4, or a folder of PNG files."""
    stage.frame_start, stage.frame_end = 1, frames
    if is_video(path):
        _write_mp4(stage)
    else:
        _write_png(stage, options)
    stage.render.filepath = str(folder / ("turntable.mp4" if is_video(path) else "frame_####.png"))


def take_output(path: Path, folder: Path) -> None:
    """Moves what was written into `folder` to `path`."""
    if not is_video(path):
        path.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        os.replace(file, path if is_video(path) else path / file.name)


def is_video(path: Path) -> bool:
    """Whether `path` is that of a film; else it is a folder's."""
    return path.suffix.lower() == ".mp4"


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A folder on the same disk as `path`, so that the finished file only has to be renamed."""
    with tempfile.TemporaryDirectory(prefix=".head-capture-", dir=path.absolute().parent) as folder:
        yield Path(folder)


def _write_png(stage: bpy.types.Scene, options: RenderOptions) -> None:
    image = stage.render.image_settings
    if bpy.app.version >= (5, 0):
        image.media_type = "IMAGE"
    image.file_format = "PNG"
    image.color_mode = "RGBA" if options.transparent else "RGB"
    image.color_depth = "8"
    image.color_management = "FOLLOW_SCENE"


def _write_mp4(stage: bpy.types.Scene) -> None:
    image = stage.render.image_settings
    if bpy.app.version >= (5, 0):
        image.media_type = "VIDEO"
    image.file_format = "FFMPEG"
    image.color_management = "FOLLOW_SCENE"
    video = stage.render.ffmpeg
    video.format, video.codec, video.audio_codec = "MPEG4", "H264", "NONE"
    video.constant_rate_factor, video.ffmpeg_preset = "PERC_LOSSLESS", "GOOD"
    video.gopsize, video.use_autosplit = 12, False
