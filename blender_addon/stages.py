# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine is at, in words an artist knows."""

from __future__ import annotations

STAGES = {
    "Starting": "Starting",
    "Loading the model": "Loading the model",
    "Reading the photo": "Reading the photo",
    "Finding the face": "Finding the face",
    "Aligning": "Straightening the photo",
    "Matting": "Cutting out the head",
    "Pivot": "First guess of the head",
    "Refinement": "Refining the head",
    "Fitting": "Fitting the head to the photo",
    "Codes": "Searching for the face",
    "Tuning": "Adapting the model to the photo",
    "Saving": "Saving",
    "Sending the photo": "Sending the photo",
    "Starting the engine": "Starting the engine",
    "Waiting for the engine": "Waiting for the engine",
    "Making the mesh": "Making the mesh",
    "Cancelling": "Cancelling",
}


def in_words(stage: str) -> str:
    """The stage as the panel calls it; one that is not known here as the engine does."""
    return STAGES.get(stage, stage)
