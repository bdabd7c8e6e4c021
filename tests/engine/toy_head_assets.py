"""A folder of head assets in the true format, with an egg for a head: small, and made in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tpn_engine.training.heads.assets import ATLAS_HEIGHT, ATLAS_WIDTH
from tpn_engine.training.heads.hair import CARDS
from tpn_engine.training.heads.subdivision import catmull_clark

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
CENTRE, RADII = np.array([0, 7.0, 0.4]), np.array([0.8, 1.9, 1.0])  # decimetres, as MakeHuman's head lies
BOTH_SIDES = ("mouthSmile", "mouthUpperUp", "mouthLowerDown", "mouthFrown", "cheekSquint", "noseSneer", "eyeSquint")
BOTH_SIDES += ("eyeWide", "eyeBlink", "eyeLookUp", "browDown", "browInnerUp", "browOuterUp")
EXPRESSIONS = [name + side for name in BOTH_SIDES for side in ("_L", "_R")] + ["jawOpen", "mouthFunnel", "mouthPucker"]
SHAPES = "nose/nose-hump-incr nose/nose-hump-decr ears/l-ear-flap-incr ears/l-ear-flap-decr ears/r-ear-flap-incr"
SHAPES += " ears/r-ear-flap-decr asym/asym-chin-1-l head/head-scale-depth-incr chin/chin-cleft"
SHAPES += " ears/l-ear-lobe-incr ears/r-ear-lobe-incr"


def ball(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A unit ball of quads: vertices [V,3] and quads [F,4], outward."""
    vertices, quads = CUBE, CUBE_QUADS
    for _ in range(steps):
        step = catmull_clark(quads, len(vertices))
        vertices, quads = step.matrix @ vertices, step.quads
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), quads


def write_toy_assets(folder: Path) -> Path:
    """Write the assets and return their folder."""
    (folder / "tex").mkdir(parents=True)
    rng = np.random.default_rng(0)
    directions, quads = ball(3)
    base = CENTRE + RADII * directions

    def near(x: float, y: float, z: float, count: int = 1) -> np.ndarray:
        return np.argsort(np.linalg.norm(base - [x, y, z], axis=1))[:count]

    targets = [
        f"macrodetails/{a}-{s}-{o}"
        for a in ("african", "asian", "caucasian")
        for s in ("male", "female")
        for o in ("child", "young", "old")
    ] + SHAPES.split()
    azimuth, height = np.arctan2(directions[:, 0], directions[:, 2]), directions[:, 1]
    uv = np.stack([0.805 + 0.16 * azimuth / np.pi, 1 - (1050 - 650 * height) / 2048], 1)
    arrays: dict[str, np.ndarray] = {
        "verts": base.astype(np.float32),
        "t_names": np.array(targets),
        "t_ptr": np.arange(len(targets) + 1) * 20,
        "t_idx": rng.integers(0, len(base), 20 * len(targets)).astype(np.uint16),
        "t_delta": rng.normal(0, 0.01, (20 * len(targets), 3)).astype(np.float16),
        "body_faces": quads.astype(np.uint16),
        "body_faces_uv": quads.astype(np.uint16),
        "body_uv": uv.astype(np.float32),
        "joint-r-eye": near(-0.31, 7.35, 1.2, 8).astype(np.uint16),
        "joint-l-eye": near(0.31, 7.35, 1.2, 8).astype(np.uint16),
    }
    scale = {
        axis: [int(near(*(CENTRE - RADII * step))[0]), int(near(*(CENTRE + RADII * step))[0]), 2 * radius]
        for axis, step, radius in zip("xyz", np.eye(3), RADII.tolist(), strict=True)
    }
    at_eyes = [(-0.31, 7.35, 1.2), (0.31, 7.35, 1.2)]
    parts = {"eyes": at_eyes, "teeth": [(0, 6.5, 1.3)], "tongue": [(0, 6.5, 1.3)]}
    parts |= {"brow_001": [(0.3, 7.6, 1.2)], "lash_01": [(0.3, 7.4, 1.2)]}
    parts |= {f"hair_{name}": [(0, 8.9, 0.4), (0.7, 7.5, 0.0)] for name in CARDS}
    for name, places in parts.items():
        arrays |= {f"px_{name}_{key}": value for key, value in _patches([near(*place)[0] for place in places]).items()}
    arrays["meta"] = np.array(json.dumps({name: {"scale": scale} for name in parts}))
    np.savez(folder / "mh.npz", **arrays)

    shape = (len(base), 3)
    np.savez(
        folder / "ict_mh.npz",
        identity=rng.normal(0, 0.002, (60, *shape)).astype(np.float16),
        expression=rng.normal(0, 0.005, (len(EXPRESSIONS), *shape)).astype(np.float16),
        expression_names=np.array(EXPRESSIONS),
        mean_delta=np.zeros(shape, np.float32),
        inner_off=np.zeros(shape, np.float32),
    )
    rows = {
        "face": (400, 1100),
        "scalp": (0, 420),
        "brow": (450, 480),
        "eyelid": (480, 520),
        "blush": (600, 700),
        "moustache": (760, 790),
        "lips": (800, 830),
        "goatee": (840, 900),
        "beard": (760, 1000),
    }
    masks = {}
    for name, (top, bottom) in rows.items():
        masks[name] = np.zeros((ATLAS_HEIGHT, ATLAS_WIDTH), np.uint8)
        masks[name][top:bottom] = 255
    np.savez(folder / "masks.npz", **masks)

    grain = rng.integers(-8, 8, (ATLAS_HEIGHT, ATLAS_WIDTH, 1))
    for name, tone in {"light_female": 200, "light_male": 190, "darkskinned": 90}.items():
        skin = np.clip(np.array([tone, 0.8 * tone, 0.7 * tone]) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(skin).save(folder / "tex" / f"skin_{name}.jpg", quality=90)
    for name in ("eye_brown", "eye_brownlight", "teeth", "tongue"):
        Image.new("RGB", (8, 8), (200, 180, 170)).save(folder / "tex" / f"{name}.jpg")
    for name in [name for name in parts if "_" in name]:
        Image.new("RGBA", (32, 32), (90, 90, 90, 200)).save(folder / "tex" / f"{name}.png")
    return folder


def _patches(anchors: list[np.ndarray]) -> dict[str, np.ndarray]:
    """One square of 2 cm at each anchored place, as MakeHuman binds its parts."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * 0.1
    points = np.arange(4 * len(anchors))
    return {
        "faces": points.reshape(-1, 4),
        "faces_uv": points.reshape(-1, 4) % 4,
        "uv": np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32),
        "idx": np.repeat(np.array(anchors), 4)[:, None].repeat(3, 1),
        "w": np.tile(np.array([1, 0, 0], np.float32), (len(points), 1)),
        "off": np.tile(corners + np.array([0, 0, 0.05]), (len(anchors), 1)).astype(np.float32),
    }
