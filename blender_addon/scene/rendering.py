# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A turntable that Blender renders while the artist goes on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import bpy

from .assemble import HeadScene
from .render import RenderOptions, create_stage, set_output, take_output
from .turntable import FIRST, FRAMES, bind_markers

TurntablePath = Literal["ORBIT", "RING"]


class TurntableRender:
    """From the throwaway scene to the file at its place; Blender's own render job does the work.

    Only names are kept: an undo in between may take away any object or scene. Raises OSError where
    nothing can be written beside `path`.
    """

    def __init__(
        self,
        scene: bpy.types.Scene,
        head: HeadScene,
        path: Path,
        options: RenderOptions,
        turntable: TurntablePath,
        frames: int,
    ) -> None:
        self._path = path
        self._frames = frames if turntable == "ORBIT" else len(head.ring)
        self._pivot = head.pivot.name
        self._kept = head.pivot[FIRST], head.pivot[FRAMES]
        self._outcome = ""
        self._folder = Path(tempfile.mkdtemp(prefix=".head-capture-", dir=path.absolute().parent))
        stage = create_stage(scene, head, options)
        self._stage = stage.name
        if turntable == "ORBIT":
            stage.camera = head.orbit
            head.pivot[FIRST], head.pivot[FRAMES] = 1, frames
            head.pivot.update_tag()
        else:
            bind_markers(stage, list(head.ring), 1)
        set_output(stage, path, self._folder, options, self._frames)

    def start(self) -> None:
        """Begins; `over` tells when it has ended."""
        bpy.app.handlers.render_complete.append(self._completed)
        bpy.app.handlers.render_cancel.append(self._cancelled)
        bpy.ops.render.render("INVOKE_DEFAULT", animation=True, scene=self._stage)

    @property
    def over(self) -> bool:
        """Whether Blender renders it no longer."""
        return not bpy.app.is_job_running("RENDER")

    def finish(self) -> bool:
        """Puts the file at its place and everything else back; whether all frames are there."""
        try:
            complete = self._outcome == "complete" and any(self._folder.iterdir())
            if complete:
                take_output(self._path, self._folder)
            return complete
        finally:
            self.forget()
            stage = bpy.data.scenes.get(self._stage)
            if stage is not None:
                bpy.data.scenes.remove(stage)
            pivot = bpy.data.objects.get(self._pivot)
            if pivot is not None:
                pivot[FIRST], pivot[FRAMES] = self._kept
                pivot.update_tag()

    def forget(self) -> None:
        """Lets go of everything but Blender's data, which belongs to a file that may be gone."""
        for handlers, handler in (
            (bpy.app.handlers.render_complete, self._completed),
            (bpy.app.handlers.render_cancel, self._cancelled),
        ):
            if handler in handlers:
                handlers.remove(handler)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _completed(self, *_: Any) -> None:
        self._outcome = "complete"

    def _cancelled(self, *_: Any) -> None:
        self._outcome = "cancelled"
