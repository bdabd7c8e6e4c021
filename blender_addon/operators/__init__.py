# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist can do, one file a subject."""

from __future__ import annotations

import bpy

from .cancel import Cancel, CancelSetup
from .choose_photo import ChoosePhoto, ForgetPhoto, ImportFaceFromFile
from .engine import CopyReport, Doctor, OpenLog, ReleaseMemory, ShowPreferences, StopEngine
from .environment import RemoveEngine, RepairEngine, SetUpEngine, UpdateEngine
from .export_head import ExportHead
from .import_face import ImportFace
from .look import LookAtHead, LookThroughPhotoCamera
from .remesh import Remesh
from .turntable import RenderTurntable, WatchTurntable

OPERATORS = (
    ImportFace,
    ImportFaceFromFile,
    ChoosePhoto,
    ForgetPhoto,
    Cancel,
    Remesh,
    LookAtHead,
    LookThroughPhotoCamera,
    RenderTurntable,
    WatchTurntable,
    ExportHead,
    SetUpEngine,
    UpdateEngine,
    RepairEngine,
    RemoveEngine,
    CancelSetup,
    ReleaseMemory,
    StopEngine,
    Doctor,
    CopyReport,
    OpenLog,
    ShowPreferences,
)


def register() -> None:
    """Adds all operators."""
    for operator in OPERATORS:
        bpy.utils.register_class(operator)


def unregister() -> None:
    """Removes them; those that go on are ended by the session."""
    for operator in reversed(OPERATORS):
        bpy.utils.unregister_class(operator)
