"""Rays meet a surface where geometry says; a view of it is what volume rendering with ever more samples comes to."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from surface_fields import CENTER, LEVEL, RADII, ellipsoid_field

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.presets import RenderingPreset
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.nets.volume import rays
from tpn_engine.surface import raycast
from tpn_engine.surface.raycast import cast_rays
from tpn_engine.views import render_view

CAMERA = Camera.orbit(35, 10)


def camera_rays(camera: Camera, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    origins, directions = rays(torch.from_numpy(camera.label)[None], size)
    return origins[0], directions[0]


def ellipsoid_crossings(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distances [N] at which rays enter the ellipsoid of `ellipsoid_field`, infinite where they miss it."""
    start, along = (origins - CENTER) / RADII, directions / RADII
    a, b, c = (along**2).sum(1), 2 * (start * along).sum(1), (start**2).sum(1) - 1
    root = b**2 - 4 * a * c
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), np.inf)


@pytest.mark.parametrize("camera", [CAMERA, Camera.orbit(-120, -30), Camera.orbit(0, 0, radius=0.7)])
def test_rays_end_on_the_ellipsoid(camera: Camera) -> None:
    origins, directions = camera_rays(camera, 96)
    hits = cast_rays(ellipsoid_field("xy_xz_yz"), LEVEL, origins, directions)
    expected = ellipsoid_crossings(origins.double().numpy(), directions.double().numpy())
    there = np.isfinite(expected)
    assert there.sum() > 500
    assert (hits.hit.numpy() != there).mean() < 2e-3  # rays that graze it
    both = hits.hit.numpy() & there
    error = np.abs(hits.distance.numpy() - expected)[both]
    assert np.median(error) < 2e-4
    assert np.quantile(error, 0.99) < 4e-3


def test_around_a_fringe_a_heads_surface_is_the_settled_one() -> None:
    """What a mesh shows there, a view shows: the ledge before a forehead, thinner than what is smoothed, goes."""
    field = replace(ellipsoid_field("xy_xz_yz", ledge=True), surface=LEVEL)
    origins, directions = camera_rays(Camera.orbit(0, 0), 128)
    exact, seen = (cast_rays(each, LEVEL, origins, directions) for each in (replace(field, surface=None), field))
    points = origins + directions * exact.distance[:, None]
    ledge = exact.hit & (points[:, 2] > 0.38)
    assert ledge.sum() > 50
    nearer = (seen.distance - exact.distance)[ledge]
    assert (nearer > 0.03).float().mean() > 0.9
    below = exact.hit & (points[:, 1] < 0.05)
    torch.testing.assert_close(seen.distance[below], exact.distance[below], rtol=0, atol=1e-3)
    outline = Silhouette.of(np.pad(np.ones((64, 64), np.float32), ((96, 96), (32, 160))), camera_label(), LEVEL)
    bounded = cast_rays(replace(field, silhouette=outline), LEVEL, origins, directions)
    picture = bounded.hit.view(128, 128)
    assert picture.any()
    assert not picture[:, 70:].any()


def camera_label() -> torch.Tensor:
    return torch.from_numpy(Camera.orbit(0, 0).label)


def test_the_surface_is_cut_where_the_box_ends_and_where_a_camera_stands() -> None:
    field = ellipsoid_field("xy_xz_yz")
    inside = torch.tensor(CENTER, dtype=torch.float32)[None]
    ahead = torch.tensor([[0.0, 0.0, 1.0]])
    assert cast_rays(field, LEVEL, inside, ahead).distance.item() == pytest.approx(0, abs=1e-3)
    everything = cast_rays(field, -1e6, torch.tensor([[0.1, 0.2, 2.0]]), -ahead)
    assert everything.distance.item() == pytest.approx(1.5, abs=1e-3)
    assert not cast_rays(field, LEVEL, inside + ahead, ahead).hit.any()


def test_nothing_is_met_where_nothing_is() -> None:
    origins, directions = camera_rays(CAMERA, 32)
    field = ellipsoid_field("xy_xz_yz")
    assert not cast_rays(field, 1e6, origins, directions).hit.any()
    seen = render_view(replace(field, surface=1e6), CAMERA, 32)
    assert not seen.alpha.any()
    assert not seen.rgb.any()
    assert not seen.depth.any()


def test_a_piece_apart_is_not_the_head() -> None:
    origins, directions = camera_rays(CAMERA, 96)
    alone, beside = (cast_rays(ellipsoid_field("xy_xz_yz", island), LEVEL, origins, directions) for island in (0, 0.08))
    assert torch.equal(alone.hit, beside.hit)


def test_a_view_of_a_surface_is_what_volume_rendering_comes_to() -> None:
    cloud = ellipsoid_field("xy_xz_yz")
    last = cast(FullyConnected, cloud.decoder.net[2])
    with torch.no_grad():  # so steep that a ray ends where it begins to be covered
        last.weight[0] *= 1e4
        last.bias[0] = LEVEL + 1e4 * (last.bias[0] - LEVEL)
    fine = RenderingPreset(box_limits=True, missed="empty", depth_samples=1500, importance_samples=0)
    summed = render_view(cloud, CAMERA, 48, rendering=fine)
    met = render_view(replace(cloud, surface=LEVEL), CAMERA, 48)
    below = np.arange(48)[:, None] >= 24  # above, a fringe is settled
    assert (met.mask != summed.mask)[24:].mean() < 0.01
    both = met.mask & summed.mask & below
    assert np.abs(met.depth - summed.depth)[both].mean() < 2e-3
    whole = both & (met.alpha == 1)
    assert whole.sum() > 0.9 * both.sum()
    assert np.abs(met.rgb - summed.rgb)[whole].mean() < 2e-3
    assert (met.rgb[met.alpha == 0] == 0).all()
    assert np.median((met.normals * summed.normals).sum(-1)[both]) > 0.99


def test_an_outlines_pixels_are_covered_as_far_as_the_surface_reaches() -> None:
    size, fine = 48, 16
    seen = render_view(replace(ellipsoid_field("xy_xz_yz"), surface=LEVEL), CAMERA, size)
    origins, directions = camera_rays(CAMERA, size * fine)
    inside = np.isfinite(ellipsoid_crossings(origins.double().numpy(), directions.double().numpy()))
    coverage = inside.reshape(size, fine, size, fine).mean((1, 3))
    below = np.arange(size)[:, None] >= size / 2  # above, a fringe is settled
    outline = (coverage > 0.05) & (coverage < 0.95) & below
    assert outline.sum() > 40
    assert np.abs(seen.alpha - coverage)[outline].mean() < 0.06
    assert np.abs(seen.alpha - coverage)[size // 2 :].max() < 0.35
    assert ((seen.alpha > 0) & below).sum() < ((coverage > 0) & below).sum() + outline.sum() / 4
    # Over black, in proportion to what is covered: the colours themselves are those of the pixels within.
    touched = outline & (seen.alpha > 0)
    shade = seen.rgb[touched].mean(1) / seen.alpha[touched]
    assert np.abs(shade / np.median(shade) - 1).max() < 0.4
    assert (seen.depth[seen.mask] > 0).all()


def test_a_lattice_is_made_once_and_goes_with_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TriplaneField] = []
    original = raycast.surface_density

    def counted(field: TriplaneField, *others):
        made.append(field)
        return original(field, *others)

    monkeypatch.setattr(raycast, "surface_density", counted)
    field = ellipsoid_field("xy_xz_yz")
    origins, directions = camera_rays(CAMERA, 16)
    for _ in range(3):
        cast_rays(field, LEVEL, origins, directions)
    assert len(made) == 1
    assert field in raycast._KNOWN
    made.clear()
    kept = weakref.ref(field)
    del field
    gc.collect()
    assert kept() is None
