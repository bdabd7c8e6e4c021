# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preferences: where the engine lives, what it may use, and what is wrong with it."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes its properties of them.

from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from . import paths
from .engine.environment import InstallSource, find_base_pythons
from .properties import NON_COMMERCIAL
from .session import RefusalError
from .ui.preferences import OFFLINE, draw_preferences
from .words import say

DEVICES = (
    ("auto", "Automatic", "The graphics card where there is a fitting one, else the processor"),
    ("cpu", "Processor", "Works everywhere"),
    ("cuda", "NVIDIA Graphics Card", "CUDA"),
    ("mps", "Apple Graphics", "Metal"),
)
DEFAULT_MODEL = "synthetic-heads"


def _known_pythons(_self: Any, _context: Any, text: str) -> list[str]:
    return [str(python) for python in find_base_pythons() if text in str(python)]


class HeadCapturePreferences(bpy.types.AddonPreferences):
    """Kept with Blender's own preferences."""

    bl_idname = paths.ROOT

    base_python: StringProperty(
        name="Python",
        description="The Python 3.10 to 3.13 to make the engine's environment with; empty: Blender's own",
        search=_known_pythons,
        search_options={"SUGGESTION"},
    )
    wheel_folder: StringProperty(
        name="Wheel Folder",
        description="A folder with the engine's wheel and all it needs, to set up without the internet",
        subtype="DIR_PATH",
    )
    engine_python: StringProperty(
        name="Python of the Engine",
        description="A Python that has the engine installed already, to use instead of the environment above",
        subtype="FILE_PATH",
    )
    device: EnumProperty(name="Device", description="What the engine computes on", items=DEVICES)
    accept_non_commercial: BoolProperty(
        name="I Accept the Non-Commercial License",
        description="EG3D's weights may be used for research and evaluation only, not for paid work",
    )
    model_file: StringProperty(
        name="My Model File", description="A model you already have, as .safetensors", subtype="FILE_PATH"
    )
    cache_folder: StringProperty(
        name="Cache Folder",
        description="Where captured heads are kept, so that the same photo is instant the second time; empty: "
        "the folder Blender gives the extension",
        subtype="DIR_PATH",
    )
    cache_size: FloatProperty(
        name="Cache Size",
        description="Gigabytes that captured heads may take; the oldest go first",
        default=4.0,
        min=0.1,
        soft_max=100.0,
        precision=1,
    )
    show_setup: BoolProperty(name="Options", description="Where the engine comes from", default=False)
    show_lines: BoolProperty(name="Details", description="Every line of the installation", default=False)

    def draw(self, context: Any) -> None:
        draw_preferences(self.layout, context, self)

    @property
    def device_name(self) -> str:
        """What the engine calls the device."""
        return self.device

    @property
    def cache_path(self) -> Path:
        """The folder of the captures."""
        return paths.absolute(self.cache_folder) if self.cache_folder else paths.default_cache_folder()

    def install_source(self) -> InstallSource:
        """Where the engine is installed from. Raises RefusalError where Blender is offline and no folder is given."""
        folder = paths.absolute(self.wheel_folder) if self.wheel_folder else None
        if folder is not None and not folder.is_dir():
            raise RefusalError(say("There is no folder {folder}: choose another wheel folder.", folder=folder))
        if folder is None and not bpy.app.online_access:
            raise RefusalError(say(OFFLINE))
        return InstallSource(wheel=paths.bundled_wheel(), folder=folder, online=bool(bpy.app.online_access))

    def model_source(self, model: str) -> str:
        """What the engine is started with: a model's name, or the user's own file. Raises RefusalError."""
        if model == "file":
            if not self.model_file:
                raise RefusalError(say("Choose your model file in the preferences of Head Capture first."))
            return str(paths.absolute(self.model_file))
        if model in NON_COMMERCIAL and not self.accept_non_commercial:
            raise RefusalError(
                say("This model is for non-commercial use only: accept its license in the preferences first.")
            )
        return DEFAULT_MODEL


def preferences(context: Any) -> HeadCapturePreferences:
    """The preferences of this extension."""
    return context.preferences.addons[paths.ROOT].preferences


def register() -> None:
    """Adds the preferences."""
    bpy.utils.register_class(HeadCapturePreferences)


def unregister() -> None:
    """Removes them."""
    bpy.utils.unregister_class(HeadCapturePreferences)
