# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between Blender and the engine."""

from __future__ import annotations

CONTROL = dict.fromkeys((*range(32), *range(127, 160)), " ")


class EngineError(Exception):
    """A failure; `message` is a sentence for the artist.

    `code`: one of the service's own, or "unreachable" (nobody listens, or the answer broke off), "slow" (no
    answer in time; ask again), "bad_answer" (what answers is not the engine), "environment" (set it up).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def plain(text: str, longest: int = 1000) -> str:
    """Text from outside, safe to show: one line, no control characters, at most `longest` characters."""
    text = text.encode("utf-8", "replace").decode("utf-8")[: 4 * longest]
    return " ".join(text.translate(CONTROL).split())[:longest]
