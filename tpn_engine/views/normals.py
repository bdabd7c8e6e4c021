"""Which way the surface that a camera sees is turned."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.volume import rays
from tpn_engine.surface.fringe import before_settling

_PIXELS_AT_ONCE = 2**16  # each asks for the density at six points


@torch.inference_mode()
def surface_normals(field: TriplaneField, camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Unit normals [S, S, 3] of the surface at `depth` [S, S] along the camera's axis; zero where that is 0.

    In the camera's frame: x right, y up, z toward the viewer. None is turned away from the camera.
    """
    label = torch.from_numpy(camera.label).to(field.planes.device)[None]
    size = len(depth)
    origins, directions = (part[0] for part in rays(label, size))
    along_axis = torch.from_numpy(depth).to(origins).reshape(-1)
    turn = label[0, :16].reshape(4, 4)[:3, :3]
    normals = torch.zeros_like(directions)
    for seen in torch.nonzero(along_axis > 0)[:, 0].split(_PIXELS_AT_ONCE):
        ray = directions[seen]
        points = origins[seen] + ray * (along_axis[seen] / (ray @ turn[:, 2]))[:, None]
        normals[seen] = _facing(-_gradient(field, points), ray) @ turn
    normals = normals * normals.new_tensor((1.0, -1.0, -1.0))  # from OpenCV's axes, y down and z away
    return normals.reshape(size, size, 3).cpu().numpy()


def _gradient(field: TriplaneField, points: Tensor) -> Tensor:
    """Density's slope [N, 3] at `points` [N, 3], over a texel to either side: inside one it jumps."""
    texel = field.box.warp / field.planes.shape[-1]
    steps = torch.eye(3, device=points.device) * texel
    places = torch.cat([(points + sign * steps[:, None]).reshape(-1, 3) for sign in (1, -1)])
    if field.surface is not None:
        places = before_settling(places)
    ahead, behind = field.density(places).chunk(2)
    return (ahead - behind).view(3, -1).T / (2 * texel)


def _facing(outward: Tensor, ray: Tensor) -> Tensor:
    """Unit vectors along `outward` [N, 3], those that point along their `ray` [N, 3] bent to be at right angles.

    Where nothing is left the normal looks back along the ray.
    """
    unit = F.normalize(outward, dim=-1)
    beyond = (unit * ray).sum(-1, keepdim=True).clamp(min=0)
    unit = unit - beyond * ray
    length = unit.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-3, unit / length, -ray)
