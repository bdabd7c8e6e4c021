# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The material that shows the photo's colours as they are."""

from __future__ import annotations

import bpy
import numpy as np

from .head import COLOR_ATTRIBUTE


def create_material(name: str, average_color: np.ndarray) -> bpy.types.Material:
    """A material whose camera rays see the colour attribute unlit; `average_color` is linear RGB.

    The portrait's light is already in the colours, so the camera gets them as emission. All other
    rays meet a diffuse surface of the same colours: the head does not light the scene but casts
    and takes part in shadows and bounces. The glTF exporter knows this arrangement of nodes and
    writes KHR_materials_unlit with the true colours in COLOR_0, which it does not for emission alone.
    """
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0):  # later every material has nodes and the switch is deprecated
        material.use_nodes = True
    # What solid mode shows when it is set to material colours.
    material.diffuse_color = (*(float(value) for value in average_color), 1.0)
    # 100,000 small emitters would slow Cycles down and light nothing: only camera rays see them.
    if hasattr(material, "cycles"):
        material.cycles.emission_sampling = "NONE"

    tree = material.node_tree
    tree.nodes.clear()
    color = tree.nodes.new("ShaderNodeVertexColor")
    color.layer_name = COLOR_ATTRIBUTE
    light_path = tree.nodes.new("ShaderNodeLightPath")
    diffuse = tree.nodes.new("ShaderNodeBsdfDiffuse")
    emission = tree.nodes.new("ShaderNodeEmission")
    mix = tree.nodes.new("ShaderNodeMixShader")
    output = tree.nodes.new("ShaderNodeOutputMaterial")

    tree.links.new(color.outputs["Color"], diffuse.inputs["Color"])
    tree.links.new(color.outputs["Color"], emission.inputs["Color"])
    tree.links.new(light_path.outputs["Is Camera Ray"], mix.inputs[0])
    tree.links.new(diffuse.outputs["BSDF"], mix.inputs[1])
    tree.links.new(emission.outputs["Emission"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], output.inputs["Surface"])

    color.location, light_path.location = (-600, -100), (-300, 350)
    diffuse.location, emission.location = (-300, 0), (-300, -180)
    mix.location, output.location = (0, 0), (200, 0)
    return material
