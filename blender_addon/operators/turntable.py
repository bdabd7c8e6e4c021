# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render Turntable: the orbit or the ring, as a video or pictures; the scene's own settings stay."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes the operator's properties of them.

from pathlib import Path
from typing import Any

import bpy
from bpy.props import StringProperty

from .. import paths
from .. import session as sessions
from ..scene import RenderOptions, TurntableRender, render_orbit, render_ring
from ..session import RefusalError
from ..words import say
from .heads import head_of, the_head


class RenderTurntable(bpy.types.Operator):
    """Takes the panel's settings; scripts set those on `scene.head_capture` first."""

    bl_idname = "head_capture.render_turntable"
    bl_label = "Render Turntable"
    bl_description = "Render one turn around the head; the scene's own render settings stay as they are"

    filepath: StringProperty(
        name="File", description="The video, or the folder for the pictures", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )
    filter_glob: StringProperty(default="*.mp4", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: Any) -> bool:
        if the_head(context) is None:
            cls.poll_message_set("Select a captured head")
            return False
        if bpy.app.is_job_running("RENDER"):
            cls.poll_message_set("Blender is rendering already")
            return False
        return True

    def invoke(self, context: Any, _event: Any) -> set[str]:
        collection = the_head(context)
        assert collection is not None  # poll
        folder = Path(bpy.data.filepath).parent if bpy.data.filepath else Path.home()
        name = bpy.path.clean_name(f"{collection.name} turntable")
        video = context.scene.head_capture.turntable_format == "MP4"
        self.filepath = str(folder / (f"{name}.mp4" if video else name))
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Any) -> set[str]:
        try:
            if not self.filepath:
                raise RefusalError(say("Say where the turntable shall be written."))
            path = self._path(context)
            if bpy.app.background:
                self._render_whole(context, path)
            else:
                return bpy.ops.head_capture.watch_turntable("INVOKE_DEFAULT", filepath=str(path))
        except sessions.TROUBLE as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, say("Wrote {path}", path=path))
        return {"FINISHED"}

    def _path(self, context: Any) -> Path:
        path = paths.absolute(self.filepath)
        if context.scene.head_capture.turntable_format == "MP4":
            path = path.with_suffix(".mp4") if path.suffix else path.with_name(f"{path.name}.mp4")
        elif path.suffix.lower() == ".mp4":
            path = path.with_suffix("")
        return path

    def _render_whole(self, context: Any, path: Path) -> None:
        settings, options, head = context.scene.head_capture, render_options(context), _head(context)
        if settings.turntable_path == "ORBIT":
            render_orbit(context.scene, head, path, options, settings.turntable_frames)
        else:
            render_ring(context.scene, head, path, options)


class WatchTurntable(bpy.types.Operator):
    """Waits for Blender's render job, which has its own bar and stops with Escape."""

    bl_idname = "head_capture.watch_turntable"
    bl_label = "Render Turntable"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    filepath: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    _timer: Any = None
    _render: TurntableRender | None = None

    def invoke(self, context: Any, _event: Any) -> set[str]:
        settings, session = context.scene.head_capture, sessions.current()
        try:
            self._render = session.rendering = TurntableRender(
                context.scene,
                _head(context),
                Path(self.filepath),
                render_options(context),
                settings.turntable_path,
                settings.turntable_frames,
            )
            self._render.start()
            self._timer = context.window_manager.event_timer_add(0.25, window=context.window)
            context.window_manager.modal_handler_add(self)
        except sessions.TROUBLE as error:
            session.end_rendering()
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        session = sessions.current()
        if self._render is None or session.rendering is not self._render:  # another file was opened
            return {"CANCELLED"}
        if event.type != "TIMER" or not self._render.over:
            return {"PASS_THROUGH"}
        context.window_manager.event_timer_remove(self._timer)
        try:
            complete = session.end_rendering()
        except OSError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not complete:
            self.report({"INFO"}, say("Cancelled"))
            return {"CANCELLED"}
        self.report({"INFO"}, say("Wrote {path}", path=self.filepath))
        return {"FINISHED"}

    def cancel(self, _context: Any) -> None:
        """Called by Blender when the window closes or another file is loaded."""
        session = sessions.current()
        if session.rendering is self._render:
            session.end_rendering()


def render_options(context: Any) -> RenderOptions:
    """The panel's, with the scene's frame rate. A video needs an even size."""
    settings = context.scene.head_capture
    size = settings.turntable_size + settings.turntable_size % 2
    return RenderOptions(
        engine=settings.turntable_engine,
        width=size,
        height=size,
        fps=context.scene.render.fps,
        view_transform=settings.turntable_view,
    )


def _head(context: Any) -> Any:
    collection = the_head(context)
    if collection is None:
        raise RefusalError(say("Select a captured head first."))
    return head_of(collection)
