# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A captured head in the scene: mesh, material, cameras and timeline, in one collection."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from .cameras import CameraLabel, create_ring, create_source_camera, frame_head, load_crop
from .head import HeadArrays, create_head
from .material import create_material
from .space import METRES_PER_UNIT, linear_colors
from .turntable import bind_markers, create_orbit

ROLE = "head_capture_role"
PROVENANCE = "head_capture_provenance"
SPACING = 1.5 * METRES_PER_UNIT  # between heads side by side; the engine's box is one unit wide


@dataclass(frozen=True)
class HeadScene:
    """What one import made. All but the collection and the image are found in it again by `of`."""

    collection: bpy.types.Collection
    root: bpy.types.Object  # an empty that moves everything
    head: bpy.types.Object
    source: bpy.types.Object
    ring: tuple[bpy.types.Object, ...]
    pivot: bpy.types.Object
    orbit: bpy.types.Object

    @classmethod
    def of(cls, collection: bpy.types.Collection) -> HeadScene:
        """The head in `collection`. Raises ValueError where a part of it was deleted."""
        parts: dict[str, list[bpy.types.Object]] = {}
        for item in collection.objects:
            parts.setdefault(item.get(ROLE, ""), []).append(item)
        try:
            root, head, source, pivot, orbit = (parts[role][0] for role in ("root", "head", "source", "pivot", "orbit"))
        except KeyError as error:
            raise ValueError(f"{collection.name} has lost its {error}: import the portrait again.") from None
        return cls(collection, root, head, source, tuple(parts.get("ring", ())), pivot, orbit)

    @property
    def provenance(self) -> dict[str, Any]:
        """How the head was made: photo, model, settings, warnings."""
        return json.loads(self.head[PROVENANCE])


def build_head(
    scene: bpy.types.Scene,
    name: str,
    arrays: HeadArrays,
    label: np.ndarray,
    crop: str | os.PathLike[str],
    provenance: Mapping[str, Any],
    *,
    ring: int = 8,
    frames: int = 120,
) -> HeadScene:
    """Builds the collection `Head - <name>` in `scene`.

    `name` is the photo's, `label` the camera label's 25 numbers, `crop` the aligned crop's file
    (packed into the .blend), `provenance` anything JSON can hold. `ring` cameras stand around the
    head and the orbit turns once in `frames` frames. A further head is put beside those already
    there, and its cameras behind theirs on the timeline; nothing that exists is changed. Raises
    ValueError, before anything is made, for a damaged label or a crop that can't be read.
    """
    camera_label = CameraLabel.from_numbers(label)
    provenance_text = json.dumps(dict(provenance))
    image = load_crop(f"{name} crop", crop)
    framing = frame_head(arrays.vertices)
    first = _first_free_frame(scene)

    root = bpy.data.objects.new(name, None)
    root.empty_display_size = 0.2 * METRES_PER_UNIT
    root.location = (_free_place(scene), 0.0, 0.0)
    material = create_material(name, linear_colors(arrays.colors).mean(axis=0))
    head = create_head(f"{name} head", arrays, material)
    head[PROVENANCE] = provenance_text
    source = create_source_camera(f"{name} source camera", camera_label, image)
    cameras = create_ring(name, framing, ring)
    pivot, orbit = create_orbit(f"{name} orbit", framing, first, frames)

    collection = bpy.data.collections.new(f"Head - {name}")
    collection[ROLE] = "collection"
    scene.collection.children.link(collection)
    roles = [("root", root), ("head", head), ("source", source), ("pivot", pivot), ("orbit", orbit)]
    for role, item in roles + [("ring", camera) for camera in cameras]:
        item[ROLE] = role
        collection.objects.link(item)
        if item is not root and item.parent is None:
            item.parent = root

    # The source camera just before the orbit, the ring just behind it.
    bind_markers(scene, [source, orbit], first - 1)
    bind_markers(scene, cameras, first + frames)
    if scene.camera is None:
        scene.camera = source
    for view_layer in scene.view_layers:
        view_layer.update()
    return HeadScene(collection, root, head, source, tuple(cameras), pivot, orbit)


def head_collections(scene: bpy.types.Scene) -> list[bpy.types.Collection]:
    """The collections of all captured heads in `scene`."""
    return [collection for collection in scene.collection.children_recursive if ROLE in collection]


def _free_place(scene: bpy.types.Scene) -> float:
    """Where on the X axis the next head stands: the first in the middle, each other beside the last."""
    taken = [
        item.matrix_world.translation.x
        for collection in head_collections(scene)
        for item in collection.objects
        if item.get(ROLE) == "root"
    ]
    return max(taken) + SPACING if taken else 0.0


def _first_free_frame(scene: bpy.types.Scene) -> int:
    """The frame where a further head's orbit begins, with room for its source camera before it."""
    bound = [marker for marker in scene.timeline_markers if marker.camera]
    if not bound:
        return 1
    last = max(marker.frame for marker in bound)
    if any(ROLE not in marker.camera for marker in bound):  # the user's own cut goes on to the end
        last = max(last, scene.frame_end)
    return last + 2
