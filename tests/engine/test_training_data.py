"""Truth at points, from exact pictures of a coloured ball that is red on its left and blue on its right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_heads import CENTRE, LEFT, RADIUS, RIGHT, SIZE, YAWS, ball_view, write_heads
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.errors import FileError
from tpn_engine.nets.presets import HEAD_BOX
from tpn_engine.training.augment import ColorShift, degrade
from tpn_engine.training.config import StageConfig
from tpn_engine.training.data import HeadViews, batches, head_files
from tpn_engine.training.measures import compare_views, mean_measures
from tpn_engine.training.person import OFTENER, Person, fair_chances
from tpn_engine.training.supervision import PixelView, carve, color_points, occupancy_points, outline_points


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_heads(tmp_path_factory.mktemp("heads"), 10)


@pytest.fixture
def head(folder: Path) -> HeadViews:
    return HeadViews.load(folder / "head_000000.npz")


def stage_config(**changes) -> StageConfig:
    values = {
        "steps": 10, "batch": 2, "learning_rate": 1e-3, "generator_learning_rate": 1e-3, "warmup": 2,
        "color_points": 300, "occupancy_points": 500, "source_share": 0.5, "color_weight": 1.0,
        "occupancy_weight": 1.0, "density_per_logit": 10.0, "plane_gain": 1.0, "ema": 0.9, "mixed_precision": False,
    }  # fmt: skip
    return StageConfig(**(values | changes))


def test_color_points_lie_on_the_ball_and_have_its_colors(head: HeadViews) -> None:
    views = [head.view(index) for index in range(len(YAWS))]
    at, color, weight = color_points(views, 0, 0.5, 2000, np.random.default_rng(0))
    distance = np.linalg.norm(at - CENTRE, axis=1)
    assert np.median(np.abs(distance - RADIUS)) < 0.02
    assert (distance < RADIUS + 0.05).all()
    clear = np.abs(at[:, 0] - CENTRE[0]) > 0.04
    expected = np.where(at[:, :1] > CENTRE[0], LEFT, RIGHT) / 255
    # A side view's colour is carried along its ray, which may cross the middle.
    assert (np.abs(color - expected).max(1) < 1e-6)[clear].mean() > 0.97
    assert (weight > 0).all()


def test_carving_knows_inside_from_outside(head: HeadViews) -> None:
    views = [head.view(index) for index in range(len(YAWS))]
    at, inside, known = occupancy_points(views, 0, 4000, np.random.default_rng(1))
    distance = np.linalg.norm(at - CENTRE, axis=1)
    assert known.mean() > 0.7
    assert inside[known & (distance < RADIUS - 0.02)].all()
    # Six views around the equator leave a little of what lies above the ball and below it.
    assert inside[known & (distance > RADIUS + 0.05)].mean() < 0.02
    beyond = ((at < HEAD_BOX.low) | (at > HEAD_BOX.high)).any(1)
    assert beyond.any()
    assert known[beyond].all()


def test_what_lies_deep_behind_a_face_is_not_taken_for_its_inside(head: HeadViews) -> None:
    front, left, right, _, _, back = (head.view(index) for index in range(len(YAWS)))
    behind = CENTRE + np.array([[0, 0, -RADIUS - 0.1], [0, 0, -RADIUS - 0.02]])
    core, cheek = CENTRE[None], CENTRE + np.array([[0, 0, RADIUS - 0.1]])
    for views in ([front, left], [front, left, right]):
        assert not carve(np.concatenate([behind, core]), views)[1].any()  # nobody knows
        assert carve(cheek, views)[0].all()
    inside, known = carve(np.concatenate([behind, core]), [front, back])
    assert inside.tolist() == [False, False, True]
    assert known.all()


def test_hair_is_a_volume_and_gaps_between_strands_are_no_holes() -> None:
    camera, size, rng = Camera.orbit(0, 0), 64, np.random.default_rng(0)
    strands = np.zeros((size, size), np.float32)
    strands[16:48, 16:48:2] = 1  # one pixel of hair, one of nothing
    depth = np.where(strands > 0, np.float32(2.7), 0)
    depth[16:48, 17:48:4] = 2.9  # and through every other gap something lies far behind
    alpha = np.where(depth > 0, np.float32(1), 0)
    view = PixelView(np.zeros((size, size, 3), np.uint8), alpha, depth, camera).without_gaps()
    core = np.s_[17:47, 17:46]
    assert (view.depth[core] == np.float32(2.7)).all()
    assert set(np.unique(view.alpha[core])) == {0.5, 1.0}
    outside = np.ones_like(alpha, bool)
    outside[16:48, 16:48] = False
    assert (view.alpha[outside] == 0).all()
    row, column = rng.integers(18, 45, (2, 500))
    shown = alpha[row, column] > 0
    image = np.stack([(column + 0.5) / size, (row + 0.5) / size], 1)
    points = camera.position + _rays(camera, image) * 2.71
    inside, known = carve(points, [view])
    assert inside[shown].all()
    assert not known[~shown].any()


def test_just_beside_a_photos_outline_nobody_knows(head: HeadViews) -> None:
    view = head.view(0)
    rim = view.without_rim()
    changed = rim.alpha != view.alpha
    assert (rim.alpha[changed] == 0.5).all()
    assert (view.alpha[changed] < 0.01).all()
    from_outline = np.asarray(ndimage.distance_transform_edt(view.alpha < 0.01))
    assert changed.sum() == ((from_outline > 0) & (from_outline < 2.1)).sum() > 50
    row, column = np.nonzero(changed)
    image = np.stack([(column + 0.5) / SIZE, (row + 0.5) / SIZE], 1)
    points = view.camera.position + _rays(view.camera, image) * 2.7
    inside, known = carve(points, [view])
    assert known.all()
    assert not inside.any()
    assert not carve(points, [rim])[1].any()


def test_a_surface_lies_midway_between_what_is_known_empty_and_inside(head: HeadViews) -> None:
    view = head.view(0)
    row, column = np.divmod(view.inner, SIZE)
    image = np.stack([(column + 0.5) / SIZE, (row + 0.5) / SIZE], 1)
    directions = _rays(view.camera, image)
    for offset, expected in ((-0.005, (True, False)), (-0.003, (False,)), (0.003, (False,)), (0.005, (True, True))):
        points = view.camera.position + directions * (view.depth[row, column] + offset)[:, None]
        inside, known = carve(points, [view])
        assert (known == expected[0]).mean() > 0.99
        assert (inside[known] == expected[-1]).mean() > 0.99 if expected[0] else not inside.any()


def _rays(camera: Camera, image: np.ndarray) -> np.ndarray:
    """Directions [N, 3] of length 1 along z, of places [N, 2] in the picture."""
    places = np.concatenate([image, np.ones((len(image), 1))], 1) @ np.linalg.inv(camera.intrinsics).T
    return places @ camera.pose[:3, :3].T


def test_outline_points_lie_on_both_sides_of_the_outline(head: HeadViews) -> None:
    view = head.view(0)
    at = outline_points(view, 2000, np.random.default_rng(2))
    distance = np.linalg.norm(at - CENTRE, axis=1)
    assert 0.4 < (distance < RADIUS).mean() < 0.6
    image = view.camera.project(at)[:, :2] - view.camera.project(CENTRE[None])[:, :2]
    apart = np.linalg.norm(image, axis=1)
    outline = np.sqrt((view.alpha > 0.5).sum() / np.pi) / SIZE
    assert (np.abs(apart - outline) < 0.09).all()


def test_one_view_is_enough_close_behind_its_surface(head: HeadViews) -> None:
    view = head.view(0)
    toward = view.camera.position - CENTRE
    front = CENTRE + toward / np.linalg.norm(toward) * RADIUS
    inward = CENTRE - front
    inward = inward / np.linalg.norm(inward)
    points = np.stack([front + 0.01 * inward, front + 0.1 * inward, front - 0.05 * inward])
    inside, known = carve(points, [view])
    assert inside.tolist() == [True, False, False]
    assert known.tolist() == [True, False, True]


def test_points_in_no_picture_count_as_empty_unless_a_body_may_be_there(head: HeadViews) -> None:
    points = np.array([[0.0, 0.49, 30.0], [0.9, 0.0, 0.0], [0.0, -0.6, 0.0]])
    inside, known = carve(points, [head.view(0)])
    assert known.tolist() == [True, True, False]
    assert not inside.any()


def test_mirrored_head_is_the_head_in_a_mirror(head: HeadViews) -> None:
    mirrored = head.mirrored()
    views = [mirrored.view(index) for index in range(len(YAWS))]
    at, color, _ = color_points(views, 0, 0.5, 1000, np.random.default_rng(0))
    at[:, 0] *= -1
    assert np.median(np.abs(np.linalg.norm(at - CENTRE, axis=1) - RADIUS)) < 0.02
    clear = np.abs(at[:, 0] - CENTRE[0]) > 0.04
    expected = np.where(at[:, :1] > CENTRE[0], LEFT, RIGHT) / 255
    assert (np.abs(color - expected).max(1) < 1e-6)[clear].mean() > 0.97
    positions = [np.stack([camera.position for camera in item.cameras]) for item in (head, mirrored)]
    np.testing.assert_allclose(positions[1], positions[0] * [-1, 1, 1], atol=1e-6)


def test_batches_depend_on_seed_and_step_alone(folder: Path) -> None:
    files, held_out = head_files(folder, 5)
    assert [path.stem for path in held_out] == ["head_000004", "head_000009"]
    first = batches(files, stage_config(), 7, 0)
    next(first)
    again, resumed = next(first), next(batches(files, stage_config(), 7, 1))
    for name, value in vars(again).items():
        assert value.equal(getattr(resumed, name)), name


def test_missing_heads_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"training\.heads"):
        head_files(tmp_path, 5)


def test_augmentation_keeps_black_background_black(head: HeadViews) -> None:
    rng = np.random.default_rng(3)
    view = head.view(0)
    shifted = ColorShift.random(rng)(view.on_black())
    assert shifted[view.alpha == 0].max() == 0
    for _ in range(20):
        photo, matte = degrade(shifted, view.alpha, rng)
        assert photo.min() >= 0
        assert 0 <= matte.min() <= matte.max() <= 1
        assert matte[view.alpha == 0].max() == 0


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
    files = sorted(tmp_path.glob("*.npz"))
    women = [Person.load(path).sex == "female" for path in files]  # type: ignore[union-attr]
    assert sum(women) == 1
    once = 1 / 3 / (2 + OFTENER["female"])
    expected = [1 / 18] * 6 + [once * (OFTENER["female"] if woman else 1) for woman in women[6:9]] + [1 / 3]
    np.testing.assert_allclose(fair_chances(files), expected)
    np.testing.assert_allclose(fair_chances(sorted(folder.glob("*.npz"))), 0.1)  # nobody knows whose they are
