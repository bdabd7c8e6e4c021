"""Random portrait heads with exact cameras, masks, normals and depth: what the embedded model learned from.

A seed names a head: identity, expression, skin, eyes, brows, lips, beard, hair, clothing and light
are drawn from it (parameters.py), built as meshes (build.py) and rendered (renderer.py).

    python -m tpn_engine.training.heads --assets DIR --out DIR --first SEED --count N --processes K

Shapes and pictures come from MakeHuman's assets (CC0) and ICT-FaceKit (MIT). They are no part of this
project and are read from a folder given by path; README.md says what it holds. World: EG3D units
(1 unit is 37 cm), x the subject's left, y up, z toward the viewer.

Needs the extra `train` (moderngl, embreex) and OpenGL through EGL.
"""
