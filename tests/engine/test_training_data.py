"""Truth at points, from exact pictures of a coloured ball that is red on its left and blue on its right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ball_heads import CENTRE, LEFT, RADIUS, RIGHT, SIZE, YAWS, ball_view, write_heads
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.errors import FileError
from tpn_engine.nets.presets import HEAD_BOX
from tpn_engine.training.augment import ColorShift, blurred, degrade, misplaced
from tpn_engine.training.batches import LOOK_AGAIN_EVERY, batches, make_batch, source_views
from tpn_engine.training.config import StageConfig
from tpn_engine.training.data import HeadViews, head_files
from tpn_engine.training.measures import compare_views, mean_measures
from tpn_engine.training.person import OFTENER, Person, fair_chances
from tpn_engine.training.pictures import PixelView
from tpn_engine.training.store import HeadStore
from tpn_engine.training.supervision import carve, color_points, occupancy_points, outline_points
from tpn_engine.training.views import Views

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("heads"), 10)


@pytest.fixture(scope="module")
def store(folder: Path) -> HeadStore:
    return HeadStore(folder, 5, CPU)


@pytest.fixture
def views(store: HeadStore) -> Views:
    """Two heads, both the ball."""
    return store.views(store.files[:2])


@pytest.fixture
def head(folder: Path) -> HeadViews:
    return HeadViews.load(folder / "head_000000.npz")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(views: Views, *chosen: int) -> Views:
    """The same heads with fewer pictures."""
    return Views(*(part[:, list(chosen)] for part in (views.rgb, views.alpha, views.depth, views.label)))


def stage_config(**changes) -> StageConfig:
    values = {
        "steps": 10, "batch": 2, "learning_rate": 1e-3, "generator_learning_rate": 1e-3, "warmup": 2,
        "color_points": 300, "occupancy_points": 500, "source_share": 0.5, "color_weight": 1.0,
        "occupancy_weight": 1.0, "density_per_logit": 10.0, "plane_gain": 1.0, "ema": 0.9, "mixed_precision": False,
    }  # fmt: skip
    return StageConfig(**(values | changes))


def first_view(views: Views) -> torch.Tensor:
    return torch.zeros(len(views.label), dtype=torch.long)


def from_centre(points: torch.Tensor) -> torch.Tensor:
    return (points - points.new_tensor(CENTRE)).norm(dim=-1)


def along_rays(views: Views, row: torch.Tensor, column: torch.Tensor, depth: torch.Tensor | float) -> torch.Tensor:
    """Points [B,N,3] at pixels [N] of the first view, at depths along its z."""
    place = (torch.stack([column, row], dim=-1) + 0.5) / views.size
    heads = len(views.label)
    along = torch.as_tensor(depth, dtype=torch.float32).expand(heads, len(row))
    view = torch.zeros(heads, len(row), dtype=torch.long)
    return views.unproject(view, place.expand(heads, -1, -1), along)


def test_color_points_lie_on_the_ball_and_have_its_colors(views: Views) -> None:
    at, color, weight = color_points(views, first_view(views), 0.5, 2000, seeded(0))
    assert at.shape == color.shape == (2, 2000, 3)
    _is_the_ball(at, color, 1)
    assert (weight > 0).all()
    assert not at[0].equal(at[1])


def _is_the_ball(at: torch.Tensor, color: torch.Tensor, mirror: int) -> None:
    at = at * torch.tensor([mirror, 1, 1])
    distance = from_centre(at)
    assert (distance - RADIUS).abs().median() < 0.02
    assert (distance < RADIUS + 0.05).all()
    aside = at[..., 0] - CENTRE[0]
    red = torch.from_numpy(np.stack([RIGHT, LEFT]) / 255)[(aside > 0).long()].float()
    # A side view's colour is carried along its ray, which may cross the middle.
    assert ((color - red).abs().amax(-1) < 1e-6)[aside.abs() > 0.04].float().mean() > 0.97


def test_carving_knows_inside_from_outside(views: Views) -> None:
    at, inside, known = occupancy_points(views, first_view(views), 4000, seeded(1))
    assert at.shape == (2, 4000, 3)
    distance = from_centre(at)
    assert known.float().mean() > 0.7
    assert inside[known & (distance < RADIUS - 0.02)].all()
    # Six views around the equator leave a little of what lies above the ball and below it.
    assert inside[known & (distance > RADIUS + 0.05)].float().mean() < 0.02
    beyond = ((at < at.new_tensor(HEAD_BOX.low)) | (at > at.new_tensor(HEAD_BOX.high))).any(-1)
    assert beyond.any()
    assert known[beyond].all()


def test_what_lies_deep_behind_a_face_is_not_taken_for_its_inside(views: Views) -> None:
    centre = torch.from_numpy(CENTRE).float()
    along = torch.tensor([-RADIUS - 0.1, -RADIUS - 0.02, 0.0, RADIUS - 0.1])
    points = (centre + along[:, None] * torch.tensor([0.0, 0.0, 1.0])).expand(2, -1, -1)
    for chosen in ((0, 1), (0, 1, 2)):
        inside, known = carve(points, only(views, *chosen))
        assert not known[:, :3].any()  # nobody knows
        assert inside[:, 3].all()
    inside, known = carve(points[:, :3], only(views, 0, 5))
    assert inside.tolist() == [[False, False, True]] * 2
    assert known.all()


def test_hair_is_a_volume_and_gaps_between_strands_are_no_holes() -> None:
    size = 64
    strands = torch.zeros(1, 1, size, size)
    strands[..., 16:48, 16:48:2] = 1  # one pixel of hair, one of nothing
    depth = torch.where(strands > 0, 2.7, 0.0)
    depth[..., 16:48, 17:48:4] = 2.9  # and through every other gap something lies far behind
    alpha = (depth > 0).float()
    label = torch.from_numpy(Camera.orbit(0, 0).label)[None, None]
    rgb = torch.zeros(1, 1, size, size, 3, dtype=torch.uint8)
    views = Views(rgb, alpha, depth, label).without_gaps()
    core = np.s_[0, 0, 17:47, 17:46]
    assert (views.depth[core] == 2.7).all()
    assert set(views.alpha[core].unique().tolist()) == {0.5, 1.0}
    outside = torch.ones(1, 1, size, size, dtype=torch.bool)
    outside[..., 16:48, 16:48] = False
    assert (views.alpha[outside] == 0).all()
    row, column = torch.randint(18, 45, (2, 500), generator=seeded(0))
    shown = alpha[0, 0, row, column] > 0
    inside, known = carve(along_rays(views, row, column, 2.71), views)
    assert inside[0, shown].all()
    assert not known[0, ~shown].any()


def test_just_beside_a_photos_outline_nobody_knows(views: Views) -> None:
    rim = views.without_rim(torch.tensor([0, 1]))
    changed = rim.alpha != views.alpha
    assert changed.flatten(2).any(-1).tolist() == [[True] + [False] * 5, [False, True] + [False] * 4]
    assert (rim.alpha[changed] == 0.5).all()
    assert (views.alpha[changed] < 0.01).all()
    from_outline = np.asarray(ndimage.distance_transform_edt(views.alpha[0, 0].numpy() < 0.01))
    np.testing.assert_array_equal(changed[0, 0].numpy(), (from_outline > 0) & (from_outline < 2.1))
    row, column = changed[0, 0].nonzero().unbind(1)
    points = along_rays(views, row, column, 2.7)
    inside, known = carve(points, only(views, 0))
    assert known.all()
    assert not inside.any()
    assert not carve(points, only(rim, 0))[1][0].any()


def test_a_surface_lies_midway_between_what_is_known_empty_and_inside(views: Views) -> None:
    row, column = views.inner[0, 0].nonzero().unbind(1)
    surface = views.depth[0, 0, row, column]
    for offset, expected in ((-0.005, (True, False)), (-0.003, (False,)), (0.003, (False,)), (0.005, (True, True))):
        inside, known = carve(along_rays(views, row, column, surface + offset), only(views, 0))
        assert (known == expected[0]).float().mean() > 0.99
        assert (inside[known] == expected[-1]).float().mean() > 0.99 if expected[0] else not inside.any()


def test_outline_points_lie_on_both_sides_of_the_outline(views: Views) -> None:
    at = outline_points(views, torch.tensor([0, 3]), 2000, seeded(2))
    # Pixels of so small a picture's outline lie as far inside it as others are looked for beside it.
    assert 0.4 < (from_centre(at) < RADIUS).float().mean() < 0.75
    for number, look in enumerate((0, 3)):
        camera = Camera.from_label(views.label[number, look].numpy())
        image = camera.project(at[number].numpy())[:, :2] - camera.project(CENTRE[None])[:, :2]
        outline = np.sqrt((views.alpha[number, look].numpy() > 0.5).sum() / np.pi) / SIZE
        assert (np.abs(np.linalg.norm(image, axis=1) - outline) < 0.12).all()


def test_one_view_is_enough_close_behind_its_surface(views: Views) -> None:
    centre = torch.from_numpy(CENTRE).float()
    toward = views.label[0, 0, :16].view(4, 4)[:3, 3] - centre
    outward = toward / toward.norm()
    points = centre + outward * (RADIUS + torch.tensor([-0.01, -0.1, 0.05]))[:, None]
    inside, known = carve(points.expand(2, -1, -1), only(views, 0))
    assert inside.tolist() == [[True, False, False]] * 2
    assert known.tolist() == [[True, False, True]] * 2


def test_points_in_no_picture_count_as_empty_unless_a_body_may_be_there(views: Views) -> None:
    points = torch.tensor([[0.0, 0.49, 30.0], [0.9, 0.0, 0.0], [0.0, -0.6, 0.0]]).expand(2, -1, -1)
    inside, known = carve(points, only(views, 0))
    assert known.tolist() == [[True, True, False]] * 2
    assert not inside.any()


def test_half_of_a_batch_is_seen_in_a_mirror(views: Views) -> None:
    mirrored = views.half_mirrored()
    at, color, _ = color_points(mirrored, first_view(views), 0.5, 1000, seeded(0))
    _is_the_ball(at[0], color[0], -1)
    _is_the_ball(at[1], color[1], 1)
    place = [part.label[0, :, :16].view(-1, 4, 4)[:, :3, 3] for part in (views, mirrored)]
    torch.testing.assert_close(place[1], place[0] * torch.tensor([-1.0, 1, 1]))


def test_misplaced_heads_are_the_same_heads_a_little_elsewhere(store: HeadStore) -> None:
    views = store.views(store.files[:8])
    moved = misplaced(views, seeded(4))
    assert moved.rgb.equal(views.rgb)
    apart = (moved.label - views.label)[..., :16].abs().amax((1, 2))
    assert 0 < (apart > 0).sum() < 8
    turned = apart.argmax()
    assert 0.02 < apart[turned] < 0.5
    pose = moved.label[turned, :, :16].view(-1, 4, 4)[:, :3, :3]
    torch.testing.assert_close(pose @ pose.transpose(1, 2), torch.eye(3).expand_as(pose), atol=1e-5, rtol=0)
    # All cameras moved alike: they still agree on where the ball is.
    at, _, _ = color_points(moved, first_view(moved), 0.3, 4000, seeded(0))
    middle = (at[turned].amin(0) + at[turned].amax(0)) / 2
    assert ((at[turned] - middle).norm(dim=-1) - RADIUS).abs().median() < 0.03


def test_portraits_are_seen_from_not_too_far_aside(store: HeadStore) -> None:
    views = store.views(store.files[:8])
    chosen = {YAWS[int(index)] for seed in range(30) for index in source_views(views, seeded(seed))}
    assert chosen == {0.0, 40.0, -35.0}
    behind = only(views, 4, 5)
    assert not source_views(behind, seeded(0)).any()


def test_batches_depend_on_heads_seed_and_step_alone(store: HeadStore) -> None:
    assert [int(path.stem[5:]) for path in store.files] == [0, 1, 2, 3, 5, 6, 7, 8]
    first = batches(store, stage_config(), 7, 0)
    next(first)
    again, resumed = next(first), make_batch(store, stage_config(), 7, 1)
    for name, value in vars(again).items():
        assert value.equal(getattr(resumed, name)), name
    assert not again.photo.equal(make_batch(store, stage_config(), 8, 1).photo)


def test_heads_that_come_later_join_in(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "head_000000.npz", tmp_path)
    growing = HeadStore(tmp_path, 5, CPU)
    assert len(growing.files) == 1
    for seed in (3, 4):  # the second is held out
        shutil.copy(folder / f"head_{seed:06d}.npz", tmp_path)
    next(batches(growing, stage_config(), 0, LOOK_AGAIN_EVERY))
    assert [path.stem for path in growing.files] == ["head_000000", "head_000003"]


def test_of_heads_with_more_pictures_the_first_are_taken(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "head_000000.npz", tmp_path)
    with np.load(folder / "head_000001.npz") as file:
        np.savez(tmp_path / "head_000001.npz", **{name: value[:4] for name, value in file.items()})
    views = HeadStore(tmp_path, 5, CPU).views(sorted(tmp_path.glob("*.npz")))
    assert views.rgb.shape == (2, 4, SIZE, SIZE, 3)
    assert views.alpha.max() == 1


def test_missing_heads_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"training\.heads"):
        head_files(tmp_path, 5)


def test_augmentation_keeps_black_background_black(views: Views) -> None:
    random = seeded(3)
    source = views.one(first_view(views))
    for _ in range(20):
        shifted = ColorShift.random(2, random)(source.on_black()[:, 0])
        assert shifted[source.alpha[:, 0] == 0].max() == 0
        assert shifted.max() <= 1
        photo, matte = degrade(shifted.permute(0, 3, 1, 2), source.alpha, random)
        assert photo.shape == (2, 3, SIZE, SIZE)
        assert photo.min() >= 0
        assert 0 <= matte.min() <= matte.max() <= 1
        assert matte[source.alpha == 0].max() == 0


def test_each_picture_is_blurred_by_its_own_gaussian() -> None:
    dots = torch.zeros(2, 3, 33, 33)
    dots[..., 16, 16] = 1
    sharp, soft = blurred(dots, torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), 8)
    torch.testing.assert_close(sharp, dots[0])
    expected = ndimage.gaussian_filter(dots[1].numpy(), (0, 2, 2), truncate=4.0)
    np.testing.assert_allclose(soft.numpy(), expected, atol=1e-5)


def test_measures_see_the_difference(head: HeadViews) -> None:
    view = head.view(0)
    truth = view.on_black(), view.alpha, view.depth
    same = compare_views(*truth, view)
    assert same.psnr > 90
    assert (same.mse, same.iou, same.depth) == (0, 1, 0)
    assert same.ms_ssim == pytest.approx(1)
    rgb, alpha, depth = (np.roll(part, 4, axis=1) for part in truth)
    worse = compare_views(rgb, alpha, depth, view)
    assert worse.psnr < 30
    assert worse.mse > 0.01
    assert worse.iou < 0.95
    assert worse.depth > 0
    assert worse.ssim < same.ssim
    assert worse.ms_ssim < 0.95


def test_normals_tell_a_turned_surface_from_a_moved_one() -> None:
    camera = Camera.orbit(0, 0, look_at=(0.0, 0.0, 0.0))
    across = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    full = np.ones((SIZE, SIZE), np.float32)
    for tilt in (0.0, 20.0):
        slope = np.tan(np.radians(tilt)) / camera.intrinsics[0, 0]
        plane = np.tile(2.8 / (1 - slope * across), (SIZE, 1)).astype(np.float32)
        truth = PixelView(np.zeros((SIZE, SIZE, 3), np.uint8), full, 2.7 * full, camera)
        measured = compare_views(truth.on_black(), full, plane, truth)
        assert measured.normal == pytest.approx(tilt, abs=1)
        assert measured.depth > 10


def test_half_precision_of_the_true_depth_hardly_turns_its_normals(head: HeadViews) -> None:
    view = head.view(0)
    measured = compare_views(view.on_black(), view.alpha, ball_view(view.camera)[2], view).normal
    assert measured is not None
    assert 0 < measured < 2


def test_what_no_view_has_is_left_out_of_the_means(head: HeadViews) -> None:
    view = head.view(0)
    truth = view.on_black(), view.alpha, view.depth
    rgb, alpha, depth = (np.zeros_like(part) for part in truth)
    empty = compare_views(rgb, alpha, depth, view)
    assert empty.normal is None
    assert "normal" not in mean_measures([empty])
    same = compare_views(*truth, view)
    assert mean_measures([empty, same])["normal"] == same.normal


def test_training_draws_every_tone_of_skin_equally_often(folder: Path, tmp_path: Path) -> None:
    melanin = [0.1] * 6 + [0.5] * 3 + [0.9]
    for path, tone in zip(sorted(folder.glob("*.npz")), melanin, strict=True):
        with np.load(path) as file:
            np.savez(
                tmp_path / path.name, **file, melanin=tone, female=tone == 0.5 and path.stem.endswith("6"), age="old"
            )
    people = [Person.load(path) for path in sorted(tmp_path.glob("*.npz"))]
    women = [person.sex == "female" for person in people]  # type: ignore[union-attr]
    assert sum(women) == 1
    once = 1 / 3 / (2 + OFTENER["female"])
    expected = [1 / 18] * 6 + [once * (OFTENER["female"] if woman else 1) for woman in women[6:9]] + [1 / 3]
    np.testing.assert_allclose(fair_chances(people), expected)
    np.testing.assert_allclose(fair_chances([None] * 10), 0.1)  # nobody knows whose they are
