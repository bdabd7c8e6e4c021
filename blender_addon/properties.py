# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel's fields hold, kept with each scene."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes its properties of them.

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, PointerProperty, StringProperty

MODELS = (
    ("synthetic-heads", "Synthetic Heads", "Comes with the engine, free for any use; soft, averaged faces"),
    ("triplanenet-v2", "TriPlaneNet v2", "The authors' second model; for non-commercial use only"),
    ("triplanenet-v1", "TriPlaneNet v1", "The authors' first model; for non-commercial use only"),
    ("file", "My Model File", "The model file chosen in the preferences of Head Capture"),
)
NON_COMMERCIAL = frozenset({"triplanenet-v2", "triplanenet-v1"})

METHODS = (
    ("triplanenet", "Fast", "One look at the photo: seconds, also without a graphics card"),
    ("refine_fit", "Best", "Fast, then fitted to the photo step by step: closer to the person, takes longer"),
    ("psp", "Rough", "Only the first, rough look at the photo"),
    ("latent", "Latent Codes", "Search for the face that the model itself can make; slow"),
    ("pivotal_tuning", "Tuned Model", "Search for the face, then adapt the model to the photo; slowest"),
)
FITTED = frozenset({"refine_fit", "latent", "pivotal_tuning"})  # the methods that go on step by step

COLORS = (
    ("photo", "Photo", "Colors of the photo wherever it shows the head, of the model elsewhere"),
    ("model", "Model", "Colors as the model sees them, even all around"),
)

RESOLUTIONS = {"DRAFT": 128, "STANDARD": 256, "FINE": 384}
QUALITIES = (
    ("DRAFT", "Draft", "128 steps along each edge: quick to look at"),
    ("STANDARD", "Standard", "256 steps along each edge: for most uses"),
    ("FINE", "Fine", "384 steps along each edge: for close-ups and printing"),
    ("CUSTOM", "Custom", "Choose the number of steps yourself"),
)

PATHS = (
    ("ORBIT", "Orbit", "One smooth turn around the head", "CON_FOLLOWPATH", 0),
    ("RING", "Ring", "One picture from each camera of the ring", "OUTLINER_OB_CAMERA", 1),
)
RENDER_ENGINES = (
    ("WORKBENCH", "Workbench", "Fast, with exactly the colors of the photo"),
    ("EEVEE", "EEVEE", "The real-time renderer, with what else is in the scene"),
    ("CYCLES", "Cycles", "The path tracer, with what else is in the scene"),
)
MOVIE_FORMATS = (
    ("MP4", "Video", "One MP4 file", "FILE_MOVIE", 0),
    ("PNG", "Pictures", "A folder of PNG files", "IMAGE_DATA", 1),
)
VIEW_TRANSFORMS = (
    ("STANDARD", "Standard", "Shows the photo's colors as they are"),
    ("SCENE", "As in Scene", "The scene's own view transform, which may change the colors"),
)


class HeadCaptureSettings(bpy.types.PropertyGroup):
    """Everything the panel asks for."""

    photo: StringProperty(name="Photo", description="The portrait: one clear face, from the front, evenly lit")
    model: EnumProperty(name="Model", description="What turns the photo into a head", items=MODELS)
    quality: EnumProperty(name="Quality", description="How fine the mesh is", items=QUALITIES, default="STANDARD")
    custom_resolution: IntProperty(
        name="Steps", description="Steps along each edge of the volume", default=320, min=32, max=1024, soft_max=512
    )
    method: EnumProperty(name="Method", description="How the head is found", items=METHODS)
    time_limit: IntProperty(
        name="Time Limit",
        description="After so many seconds a fit ends with what it has; 0: as long as the method needs",
        default=0,
        min=0,
        max=3600,
        soft_max=300,
    )
    colors: EnumProperty(name="Colors", description="Where the colors of the head come from", items=COLORS)
    face: IntProperty(
        name="Face", description="Which face, where the photo shows several: 1 is the largest", default=1, min=1, max=32
    )
    level: BoolProperty(name="Straighten Head", description="Turn a tilted head upright first")
    ring: IntProperty(
        name="Ring Cameras",
        description="How many cameras stand around the head",
        default=8,
        min=0,
        max=120,
        soft_max=36,
    )
    frames: IntProperty(
        name="Orbit Frames",
        description="How many frames the orbit camera takes for one turn",
        default=120,
        min=2,
        max=10000,
        soft_max=500,
    )
    solid_colors: BoolProperty(
        name="Show Colors in Solid View",
        description="Set the Solid shading of this window's 3D views to show the head's colors",
    )

    turntable_path: EnumProperty(name="Path", description="Where the pictures are taken from", items=PATHS)
    turntable_frames: IntProperty(
        name="Frames", description="Pictures in one turn", default=120, min=2, max=10000, soft_max=500
    )
    turntable_size: IntProperty(
        name="Size",
        description="Width and height of the pictures",
        default=512,
        min=16,
        max=8192,
        soft_max=2048,
        step=2,
        subtype="PIXEL",
    )
    turntable_engine: EnumProperty(name="Engine", description="What renders the pictures", items=RENDER_ENGINES)
    turntable_format: EnumProperty(name="Format", description="What is written", items=MOVIE_FORMATS)
    turntable_view: EnumProperty(name="View", description="How colors are shown", items=VIEW_TRANSFORMS)

    @property
    def fit_seconds(self) -> int | None:
        """The time limit of the chosen method; None where there is none."""
        return self.time_limit or None if self.method in FITTED else None

    @property
    def resolution(self) -> int:
        """Lattice points along each edge, of the chosen quality."""
        return int(RESOLUTIONS.get(self.quality) or self.custom_resolution)


def register() -> None:
    """Gives each scene its fields."""
    bpy.utils.register_class(HeadCaptureSettings)
    bpy.types.Scene.head_capture = PointerProperty(type=HeadCaptureSettings)


def unregister() -> None:
    """Takes them away again."""
    del bpy.types.Scene.head_capture
    bpy.utils.unregister_class(HeadCaptureSettings)
