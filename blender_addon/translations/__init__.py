# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's language, through Blender's own mechanism: one file a language, English where a word is missing."""

from __future__ import annotations

import json
from pathlib import Path

import bpy

from .. import paths

FILES = {"de_DE": "de", "fr_FR": "fr", "es": "es", "ja_JP": "ja", "zh_HANS": "zh"}
CONTEXTS = ("*", "Operator")  # Blender looks up the names of operators in the second
# Names, and what is never seen.
ENGLISH_ON_PURPOSE = frozenset(
    [
        "CUDA",
        "Cycles",
        "EEVEE",
        "GLB",
        "Metal",
        "OBJ",
        "PLY",
        "Python",
        "STL",
        "Thumbnails",
        "TriPlaneNet v1",
        "TriPlaneNet v2",
        "USD",
        "Workbench",
    ]
)


def read_words(locale: str) -> dict[str, str]:
    """The words of one of Blender's locales, by what they are in English."""
    path = Path(__file__).with_name(f"{FILES[locale]}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def register() -> None:
    """Gives Blender the words."""
    bpy.app.translations.register(
        paths.ROOT,
        {
            locale: {(context, english): word for english, word in read_words(locale).items() for context in CONTEXTS}
            for locale in FILES
        },
    )


def unregister() -> None:
    """Takes them back."""
    bpy.app.translations.unregister(paths.ROOT)
