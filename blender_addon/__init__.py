# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Head Capture: one photo of a face in, a coloured 3D head with cameras out."""

from __future__ import annotations


def register() -> None:
    """Adds everything to Blender."""
    for part in _parts():
        part.register()


def unregister() -> None:
    """Ends what goes on, and takes everything away again."""
    for part in reversed(_parts()):
        part.unregister()


def _parts() -> list:
    # Imported late: the parts in `engine` and `scene` can be used without registering anything.
    from . import operators, preferences, properties, session, translations
    from .ui import classes, menus, thumbnails

    return [translations, properties, preferences, thumbnails, operators, classes, menus, session]
