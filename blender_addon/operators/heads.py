# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which captured head the artist means."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene import HeadScene, head_collections
from ..session import RefusalError


def the_head(context: Any) -> bpy.types.Collection | None:
    """The collection of the active object's head, or of the only head there is."""
    collections = head_collections(context.scene)
    active = context.view_layer.objects.active if context.view_layer else None
    if active is not None:
        for collection in collections:
            if active.name in collection.objects:
                return collection
    return collections[0] if len(collections) == 1 else None


def head_of(collection: bpy.types.Collection) -> HeadScene:
    """The parts of the head. Raises RefusalError where one was deleted."""
    try:
        return HeadScene.of(collection)
    except ValueError as error:
        raise RefusalError(str(error)) from error
