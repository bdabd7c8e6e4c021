"""What is kept is found by its content, and what was not used for longest goes first."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path

import pytest

from server.cache import CaptureCache, capture_key


@pytest.fixture
def cache(tmp_path: Path) -> CaptureCache:
    return CaptureCache(tmp_path, 1000)


def put(cache: CaptureCache, name: str, size: int, used: float) -> Path:
    path = cache.folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def names(cache: CaptureCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


def test_keys_depend_on_everything_that_changes_a_capture() -> None:
    variants = [
        ("photo", "model", "triplanenet", None, None, False),
        ("other", "model", "triplanenet", None, None, False),
        ("photo", "other", "triplanenet", None, None, False),
        ("photo", "model", "psp", None, None, False),
        ("photo", "model", "triplanenet", None, 0, False),
        ("photo", "model", "triplanenet", None, None, True),
        ("photo", "model", "triplanenet", 5.0, None, False),
    ]
    for first, second in combinations(variants, 2):
        assert capture_key(*first) != capture_key(*second)
    assert capture_key(*variants[0]) == capture_key(*variants[0])
    assert len(capture_key(*variants[0])) == 64


def test_the_least_recently_used_go_first(cache: CaptureCache) -> None:
    put(cache, "a.capture", 400, 1)
    put(cache, "a.json", 10, 1)
    put(cache, "b.capture", 400, 2)
    newest = put(cache, "c.capture", 400, 3)
    cache.evict(newest)
    assert names(cache) == {"b.capture", "c.capture"}


def test_a_use_counts(cache: CaptureCache) -> None:
    put(cache, "a.capture", 400, 1)
    cache.facts("a").write_text(json.dumps({"iso_level": 1}), encoding="utf-8")
    put(cache, "b.capture", 400, 2)
    assert cache.find("a") == {"iso_level": 1}
    cache.evict(put(cache, "c.capture", 400, 3))
    assert names(cache) == {"a.capture", "a.json", "c.capture"}


def test_what_was_made_goes_before_its_capture(cache: CaptureCache) -> None:
    put(cache, "a.capture", 400, 1)
    put(cache, "a.mesh-256.glb", 400, 1)
    mesh = cache.open("a", "mesh-256.glb")
    assert mesh is not None
    mesh.close()
    cache.evict(put(cache, "a.view.png", 400, 9e9))
    assert names(cache) == {"a.capture", "a.view.png"}


def test_what_is_being_read_can_be_evicted(cache: CaptureCache) -> None:
    put(cache, "a.capture", 600, 1)
    put(cache, "a.crop.png", 10, 1)
    file = cache.open("a", "crop.png")
    assert file is not None
    with file:
        cache.drop("a")
        assert len(file.read()) == 10
    assert cache.open("a", "crop.png") is None


def test_the_newest_stays_however_large(cache: CaptureCache) -> None:
    put(cache, "a.capture", 400, 1)
    newest = put(cache, "b.capture", 5000, 0)
    cache.evict(newest)
    assert names(cache) == {"b.capture"}


def test_half_a_capture_is_none(cache: CaptureCache) -> None:
    cache.facts("a").write_text("{}", encoding="utf-8")
    assert cache.find("a") is None
    put(cache, "b.capture", 10, 1)
    assert cache.find("b") is None
    cache.facts("b").write_text("{damaged", encoding="utf-8")
    assert cache.find("b") is None


def test_leftovers_are_swept(cache: CaptureCache) -> None:
    put(cache, ".a.1234.capture", 10, 1)
    fresh = put(cache, ".b.1234.capture", 10, 1)
    os.utime(fresh)
    cache.sweep()
    assert names(cache) == {".b.1234.capture"}


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    cache = CaptureCache(tmp_path / "nowhere", 10)
    cache.sweep()
    cache.evict(cache.capture("a"))
    assert cache.find("a") is None
