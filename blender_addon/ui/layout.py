# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces that panels and preferences are made of."""

from __future__ import annotations

from typing import Any

from ..words import show, wrap

LETTER = 7.0  # pixels of a narrow letter at a scale of 1, a little on the safe side
ICON = 4  # letters that an icon takes


def paragraph(layout: Any, context: Any, sentence: str, icon: str = "NONE", indent: int = 6) -> None:
    """A sentence over as many lines as the region's width needs; an icon before the first."""
    scale = context.preferences.system.ui_scale or 1.0  # 0 without a window
    width = context.region.width if context.region is not None else 0
    letters = max(int(width / (LETTER * scale)) - indent - (ICON if icon != "NONE" else 0), 20)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(wrap(sentence, letters)):
        here = icon if number == 0 else "NONE" if icon == "NONE" else "BLANK1"
        column.label(text=line, icon=here, translate=False)


def split_column(layout: Any) -> Any:
    """A column of fields with their names beside them."""
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    return column


def big(layout: Any) -> Any:
    """A row for the one button that matters."""
    row = layout.row()
    row.scale_y = 1.6
    return row


def setup_progress(layout: Any, session: Any) -> None:
    """How far the installation is, its last line, and Cancel."""
    column = layout.column(align=True)
    row = column.row(align=True)
    fraction = session.setup.fraction
    row.progress(factor=fraction or 0.0, text=show(session.setup.stage or session.setup_title))
    row.operator("head_capture.cancel_setup", text="", icon="X")
    if session.setup.lines:
        column.label(text=session.setup.lines[-1], translate=False)
