"""More vertices where the photo has more to say than the mesh can hold."""

from __future__ import annotations

import numpy as np

from tpn_engine.surface.cleanup import Surface


def split_edges(surface: Surface, ends: np.ndarray) -> Surface:
    """A vertex in the middle of each of the edges `ends` [K, 2] (the lower vertex first), closed as before.

    Every triangle becomes one to four, so that no edge has a vertex on one side only. The new vertices
    come last, in the order of the edges. Vertices may have more columns than where they lie: all are averaged.
    """
    vertices, triangles = surface
    count = len(vertices)
    codes = ends[:, 0].astype(np.int64) * count + ends[:, 1]
    order = np.argsort(codes)
    middles = ((vertices[ends[:, 0]] + vertices[ends[:, 1]]) / 2).astype(np.float32)

    starts, stops = triangles.astype(np.int64), np.roll(triangles, -1, axis=1).astype(np.int64)
    wanted = np.minimum(starts, stops) * count + np.maximum(starts, stops)
    place = np.searchsorted(codes[order], wanted).clip(max=max(len(codes) - 1, 0))
    found = codes[order][place] == wanted if len(codes) else np.zeros(wanted.shape, bool)
    middle = np.where(found, count + order[place] if len(codes) else 0, -1)  # of the edges ab, bc, ca

    halves = found.sum(1)
    # Turned so that one split edge is the first, and of two the unsplit one the last.
    turn = np.where(halves == 1, found.argmax(1), np.where(halves == 2, (found.argmin(1) + 1) % 3, 0))
    index = (np.arange(3) + turn[:, None]) % 3
    a, b, c = np.take_along_axis(triangles, index, 1).T
    ab, bc, ca = np.take_along_axis(middle, index, 1).T
    patterns = {
        0: [(a, b, c)],
        1: [(a, ab, c), (ab, b, c)],
        2: [(ab, b, bc), (a, ab, bc), (a, bc, c)],
        3: [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)],
    }
    made = []
    for number, corners in patterns.items():
        of = np.flatnonzero(halves == number)
        for three in corners:
            made.append(np.stack([corner[of] for corner in three], axis=1))
    return np.concatenate([vertices, middles]), np.concatenate(made).astype(np.int32)
