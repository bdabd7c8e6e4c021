"""`python read_usd.py FILE OUT.npz`: the one mesh of a USD file, read by Pixar's own library.

In a process of its own: Blender brings another copy of that library.
"""

from __future__ import annotations

import sys

import numpy as np
from pxr import Usd, UsdGeom  # pyright: ignore[reportMissingImports]


def main() -> None:
    stage = Usd.Stage.Open(sys.argv[1])
    (mesh,) = (UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh))
    place = np.array(UsdGeom.Xformable(mesh).ComputeLocalToWorldTransform(Usd.TimeCode.Default()))
    points = np.array(mesh.GetPointsAttr().Get(), np.float64)
    points = points @ place[:3, :3] + place[3, :3]
    colors = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("displayColor").ComputeFlattened())
    indices = np.array(mesh.GetFaceVertexIndicesAttr().Get())
    corners = mesh.GetDisplayColorPrimvar().GetInterpolation() == UsdGeom.Tokens.faceVarying
    np.savez(
        sys.argv[2],
        points=points[indices] if corners else points,
        colors=colors,
        faces=len(mesh.GetFaceVertexCountsAttr().Get()),
        up=str(UsdGeom.GetStageUpAxis(stage)),
        metres=UsdGeom.GetStageMetersPerUnit(stage),
    )


if __name__ == "__main__":
    main()
