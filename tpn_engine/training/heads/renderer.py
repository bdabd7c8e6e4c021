"""Pictures of meshes from known cameras with exact coverage, normals and depth: OpenGL through EGL.

It runs on any GPU with EGL and, without one, on Mesa's llvmpipe (Debian: libegl1, libgl1-mesa-dri).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import moderngl
import numpy as np

from tpn_engine.camera import Camera
from tpn_engine.errors import DeviceError
from tpn_engine.nets.presets import HEAD_BOX
from tpn_engine.training.heads.light import Light
from tpn_engine.training.heads.mesh import Look, Material, Mesh
from tpn_engine.training.heads.shaders import RESOLVE_FRAGMENT, RESOLVE_VERTEX, fragment_shader, vertex_shader

NEAR, FAR = 0.5, 6.0  # EG3D units along the camera's z
ONE_SIDED: frozenset[Material] = frozenset({"skin", "cloth", "glossy"})


@dataclass(frozen=True)
class HeadPicture:
    """One view of S x S pixels.

    `rgb` uint8 [S,S,3] sRGB, not premultiplied; `alpha` uint8 [S,S] coverage; `normal` float32
    [S,S,3] unit vectors in the world; `depth` float32 [S,S] along the camera's z in EG3D units.
    Normal and depth are means over a pixel's covered samples, 0 where there is none.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    normal: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class _Loaded:
    mesh: Mesh
    vertices: moderngl.VertexArray
    texture: moderngl.Texture
    buffers: tuple[moderngl.Buffer, ...]

    def release(self) -> None:
        for resource in (self.vertices, self.texture, *self.buffers):
            resource.release()


class Renderer:
    """Renders one set of meshes at a time, `size` x `size` pixels with `samples` x `samples` samples each.

    What is outside the embedded model's box is not drawn.
    Raises DeviceError where no OpenGL 3.3 can be had through EGL. Call `close` when done.
    """

    def __init__(self, size: int = 256, samples: int = 2):
        self.size, self.samples = size, samples
        backend: Any = "egl"  # annotated as a dictionary in moderngl
        try:
            self._context = context = moderngl.create_context(standalone=True, backend=backend)
        except Exception as error:  # the loader raises whatever it meets
            raise DeviceError(
                f"No OpenGL through EGL ({error}): install it, on Debian or Ubuntu "
                "with apt-get install libegl1 libgl1-mesa-dri."
            ) from error
        materials: tuple[Material, ...] = get_args(Material)
        self._programs = {
            material: context.program(vertex_shader=vertex_shader(material), fragment_shader=fragment_shader(material))
            for material in materials
        }
        self._resolve = context.program(vertex_shader=RESOLVE_VERTEX, fragment_shader=RESOLVE_FRAGMENT)
        fine = (size * samples, size * samples)
        color, geometry = context.texture(fine, 4, dtype="f2"), context.texture(fine, 4, dtype="f4")
        color.filter = geometry.filter = (moderngl.NEAREST, moderngl.NEAREST)
        depth = context.depth_renderbuffer(fine)
        self._fine = (color, geometry)
        self._solid_target = context.framebuffer([color, geometry], depth)
        self._decal_target = context.framebuffer([color], depth)
        self._output = context.framebuffer(
            [context.texture((size, size), 4), context.texture((size, size), 4, dtype="f4")]
        )
        corners = context.buffer(np.array([-1, -1, 1, -1, -1, 1, 1, 1], np.float32).tobytes())
        self._square = context.vertex_array(self._resolve, [(corners, "2f", "corner")])
        self._loaded: list[_Loaded] = []

    def close(self) -> None:
        """Give everything back to the driver."""
        self.load([])
        self._context.release()

    def load(self, meshes: Sequence[Mesh]) -> None:
        """Take these meshes in place of the last ones."""
        for loaded in self._loaded:
            loaded.release()
        visible = [mesh for mesh in meshes if len(mesh.triangles)]
        # Decals are blended over what is solid, so they come last.
        self._loaded = [self._upload(mesh) for mesh in sorted(visible, key=lambda mesh: mesh.material == "decal")]

    def render(self, camera: Camera, light: Light) -> HeadPicture:
        """The loaded meshes from `camera` under `light`."""
        context, side = self._context, self.size * self.samples
        self._set_view(camera, light)
        self._solid_target.use()
        context.viewport = (0, 0, side, side)
        self._solid_target.clear(0, 0, 0, 0)
        context.enable(moderngl.DEPTH_TEST)
        context.disable(moderngl.BLEND)
        for loaded in self._loaded:
            self._draw(loaded)
        self._decal_target.depth_mask = True
        return self._read()

    def _upload(self, mesh: Mesh) -> _Loaded:
        program = self._programs[mesh.material]
        attributes = {
            "position": (mesh.positions, "3f"),
            "normal": (mesh.normals, "3f"),
            "uv": (mesh.uv, "2f"),
            "transfer": (mesh.transfer, "9f"),
            "tangent": (mesh.tangents, "4f"),
        }
        content = [
            (self._buffer(values, np.float32), layout, name)
            for name, (values, layout) in attributes.items()
            if name in program and values is not None
        ]
        index = self._buffer(mesh.triangles, np.int32)
        rows = np.ascontiguousarray(mesh.texture[::-1])
        texture = self._context.texture((rows.shape[1], rows.shape[0]), rows.shape[2], rows.tobytes(), alignment=1)
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        vertices = self._context.vertex_array(program, content, index)
        return _Loaded(mesh, vertices, texture, (*(buffer for buffer, _, _ in content), index))

    def _buffer(self, values: np.ndarray, dtype: type[np.generic]) -> moderngl.Buffer:
        return self._context.buffer(np.ascontiguousarray(values, dtype).tobytes())

    def _set_view(self, camera: Camera, light: Light) -> None:
        view_projection = projection(camera.intrinsics) @ np.linalg.inv(camera.pose.astype(np.float64))
        values = {
            "view_projection": view_projection.T,
            "camera": camera.position,
            "forward": camera.pose[:3, 2],
            "box_low": np.array(HEAD_BOX.low),
            "box_high": np.array(HEAD_BOX.high),
            "harmonics": light.harmonics,
            "lamp_direction": light.directions,
            "lamp_color": light.colors,
        }
        lamps = int((np.abs(light.colors).sum(1) > 1e-4).sum())
        for program in {loaded.mesh.material: self._programs[loaded.mesh.material] for loaded in self._loaded}.values():
            for name, value in values.items():
                if name in program:
                    _uniform(program, name).write(np.ascontiguousarray(value, np.float32).tobytes())
            if "lamp_count" in program:
                _uniform(program, "lamp_count").value = lamps

    def _draw(self, loaded: _Loaded) -> None:
        context, mesh = self._context, loaded.mesh
        program = self._programs[mesh.material]
        if mesh.material == "decal":
            self._decal_target.use()
            self._decal_target.depth_mask = False
            context.enable(moderngl.BLEND)
            blend: Any = (moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA, moderngl.ZERO, moderngl.ONE)
            context.blend_func = blend  # annotated without the pair for alpha
        if mesh.material in ONE_SIDED:
            context.enable(moderngl.CULL_FACE)
        else:
            context.disable(moderngl.CULL_FACE)
        for number in fields(Look):
            if number.name in program:
                _uniform(program, number.name).value = getattr(mesh.look, number.name)
        loaded.texture.use(0)
        loaded.vertices.render()

    def _read(self) -> HeadPicture:
        context, size = self._context, self.size
        context.disable(moderngl.BLEND | moderngl.CULL_FACE | moderngl.DEPTH_TEST)
        self._output.use()
        context.viewport = (0, 0, size, size)
        for unit, (name, texture) in enumerate(zip(("color", "geometry"), self._fine, strict=True)):
            texture.use(unit)
            _uniform(self._resolve, name).value = unit
        _uniform(self._resolve, "samples").value = self.samples
        self._square.render(moderngl.TRIANGLE_STRIP)
        color = np.frombuffer(self._output.read(components=4, attachment=0, alignment=1), np.uint8)
        geometry = np.frombuffer(self._output.read(components=4, attachment=1, dtype="f4", alignment=1), np.float32)
        color = color.reshape(size, size, 4)[::-1]
        geometry = geometry.reshape(size, size, 4)[::-1]
        parts = (color[..., :3], color[..., 3], geometry[..., :3], geometry[..., 3])
        return HeadPicture(*(part.copy() for part in parts))


def projection(intrinsics: np.ndarray) -> np.ndarray:
    """OpenGL's clip matrix [4,4] for a camera with OpenCV axes and normalised intrinsics [3,3]."""
    fx, fy, cx, cy = (float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return np.array(
        [
            [2 * fx, 0, 2 * cx - 1, 0],
            [0, -2 * fy, 1 - 2 * cy, 0],
            [0, 0, (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)],
            [0, 0, 1, 0],
        ]
    )


def _uniform(program: moderngl.Program, name: str) -> moderngl.Uniform:
    member = program[name]
    assert isinstance(member, moderngl.Uniform)
    return member
