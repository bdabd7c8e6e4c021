"""Density on a 256^3 lattice, official widths: ours against evaluating the decoder point by point.

Both run here, one after the other; the ratio is what we claim. Run from the project's root with
`python -m benchmarks.lattice_density`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.field import TriplaneField, plane_coordinates
from tpn_engine.surface.density import Lattice, dense_density, surface_density

RESOLUTION = 256
THREADS = 2
POINTS_AT_ONCE = 1_000_000
LEVEL_QUANTILE = 0.94  # of the density: in the reference's heads 6 % of the box lies above the level


def official_field() -> TriplaneField:
    """Planes and decoder of the official widths, smooth and random, seeded."""
    torch.manual_seed(0)
    planes = F.interpolate(torch.randn(3, 32, 16, 16) * 2, (256, 256), mode="bicubic")
    decoder = Decoder(channels=32, hidden=64).eval().requires_grad_(False)
    return TriplaneField(planes, decoder, "xy_xz_zx", Box())


def point_by_point(field: TriplaneField, lattice: Lattice) -> Tensor:
    """What EG3D's shape script computes: every point samples three planes and runs the decoder."""
    axis = torch.from_numpy(lattice.coordinates[0].astype(np.float32))
    points = torch.cartesian_prod(axis, axis, axis)
    densities = []
    with torch.no_grad():
        for some in points.split(POINTS_AT_ONCE):
            grid = plane_coordinates(field.box.on_planes(some), field.axes)[:, None]
            features = F.grid_sample(field.planes, grid, mode="bilinear", align_corners=False)
            densities.append(field.decoder(features[:, :, 0].mean(0).T)[0][:, 0])
    return torch.cat(densities).view(len(axis), len(axis), len(axis))


def timed(work: Callable[[], np.ndarray], runs: int = 1) -> tuple[float, np.ndarray]:
    """Seconds of the fastest of `runs`, and the result."""
    seconds, result = [], np.empty(0)
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def main() -> None:
    torch.set_num_threads(THREADS)
    field, lattice = official_field(), Lattice(RESOLUTION, Box())
    dense_seconds, dense = timed(lambda: dense_density(field, lattice).numpy(), runs=3)
    level = float(np.quantile(dense[::4, ::4, ::4], LEVEL_QUANTILE))
    surface_seconds, _ = timed(lambda: surface_density(field, lattice, level).values, runs=3)
    naive_seconds, naive = timed(lambda: point_by_point(field, lattice).numpy())
    error = float(np.abs(naive - dense).max())
    print(f"{RESOLUTION}^3, {THREADS} threads; largest difference of the densities {error:.1e}")
    print(f"point by point         {naive_seconds:7.2f} s")
    print(f"lattice, every point   {dense_seconds:7.2f} s   {naive_seconds / dense_seconds:5.1f} x")
    print(f"lattice, surface only  {surface_seconds:7.2f} s   {naive_seconds / surface_seconds:5.1f} x")


if __name__ == "__main__":
    main()
