# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's language, through Blender's own mechanism: one file a language, English where a word is missing."""

from __future__ import annotations

import bpy

from .. import paths
from .de import GERMAN
from .es import SPANISH
from .fr import FRENCH
from .ja import JAPANESE
from .zh import CHINESE

LANGUAGES = {"de_DE": GERMAN, "fr_FR": FRENCH, "es": SPANISH, "ja_JP": JAPANESE, "zh_HANS": CHINESE}
CONTEXTS = ("*", "Operator")  # Blender looks up the names of operators in the second


def register() -> None:
    """Gives Blender the words."""
    bpy.app.translations.register(
        paths.ROOT,
        {
            locale: {(context, english): word for english, word in words.items() for context in CONTEXTS}
            for locale, words in LANGUAGES.items()
        },
    )


def unregister() -> None:
    """Takes them back."""
    bpy.app.translations.unregister(paths.ROOT)
