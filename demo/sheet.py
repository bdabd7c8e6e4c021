# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labelled pictures side by side."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont, ImageOps

TILE, GAP, CAPTION = 320, 12, 34
PAPER, INK = (24, 25, 28), (222, 222, 216)


def contact_sheet(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    """One row of square tiles below the other, each tile with its caption; pictures are cut to squares."""
    columns = max(len(row) for row in rows)
    size = (GAP + columns * (TILE + GAP), GAP + len(rows) * (TILE + CAPTION))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for line, row in enumerate(rows):
        for column, (caption, picture) in enumerate(row):
            x, y = GAP + column * (TILE + GAP), GAP + line * (TILE + CAPTION)
            sheet.paste(ImageOps.fit(picture.convert("RGB"), (TILE, TILE), Image.Resampling.LANCZOS), (x, y))
            draw.text((x + 2, y + TILE + 5), caption, INK, font)
    return sheet
