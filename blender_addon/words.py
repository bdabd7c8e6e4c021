# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences in the artist's language."""

from __future__ import annotations

import unicodedata
from typing import Any

import bpy


def say(sentence: str, **values: Any) -> str:
    """A sentence for a report or an error; `{names}` in it are filled in after it was translated."""
    return bpy.app.translations.pgettext_rpt(sentence).format(**values)


def show(sentence: str, **values: Any) -> str:
    """The same for the panel and the preferences."""
    return bpy.app.translations.pgettext_iface(sentence).format(**values)


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` narrow letters; Blender's labels don't wrap by themselves."""
    lines, line = [], ""
    for word in _pieces(text):
        if line and _width(line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> list[str]:
    """Where a line may break: behind a space, and behind each wide letter."""
    pieces, piece = [], ""
    for letter in text:
        piece += letter
        if letter == " " or _is_wide(letter):
            pieces.append(piece)
            piece = ""
    return [*pieces, piece]


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def _width(text: str) -> int:
    return sum(2 if _is_wide(letter) else 1 for letter in text)
