# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The turntable: an orbit whose loop is exact, and the markers that bind cameras to frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy

from .cameras import Framing, create_orbit_camera

FIRST = "first_frame"
FRAMES = "frames"


def create_orbit(name: str, framing: Framing, first: int, frames: int) -> tuple[bpy.types.Object, bpy.types.Object]:
    """The orbit's pivot and its camera, which turns once in `frames` frames from frame `first` on.

    The angle is driven rather than keyed: frame `first + frames` is frame `first` to the last bit
    of the angle, on every Blender version. The pivot's properties `first_frame` and `frames`
    change the turn afterwards.
    """
    pivot = bpy.data.objects.new(name, None)
    pivot.empty_display_type = "CIRCLE"
    pivot.empty_display_size = 0.03  # inside the head: it must not cross the face
    pivot.location = framing.center
    pivot[FIRST] = first
    pivot[FRAMES] = frames
    camera = create_orbit_camera(f"{name} camera", framing)
    camera.parent = pivot

    driver = pivot.driver_add("rotation_euler", 2).driver
    driver.type = "SCRIPTED"
    for variable_name in (FIRST, FRAMES):
        variable = driver.variables.new()
        variable.name = variable_name
        variable.targets[0].id = pivot
        variable.targets[0].data_path = f'["{variable_name}"]'
    # Of Blender's simple expressions, which need no permission to run Python. The remainder comes
    # first, so that equal views have equal angles.
    driver.expression = f"fmod(frame - {FIRST}, {FRAMES}) * 2 * pi / {FRAMES}"
    return pivot, camera


def bind_markers(scene: bpy.types.Scene, cameras: list[bpy.types.Object], first: int) -> None:
    """One marker a camera from frame `first` on: the timeline switches to it there."""
    for index, camera in enumerate(cameras):
        marker = scene.timeline_markers.new(camera.name, frame=first + index)
        marker.camera = camera


@contextmanager
def turning(pivot: bpy.types.Object, first: int, frames: int) -> Iterator[None]:
    """The orbit with other numbers for a while."""
    kept = pivot[FIRST], pivot[FRAMES]
    try:
        pivot[FIRST], pivot[FRAMES] = first, frames
        pivot.update_tag()
        yield
    finally:
        pivot[FIRST], pivot[FRAMES] = kept
        pivot.update_tag()
