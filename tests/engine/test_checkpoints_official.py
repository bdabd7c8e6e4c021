"""The authors' and NVIDIA's files become models, and give the authors' numbers."""

from __future__ import annotations

import pickletools
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import goldens
import numpy as np
import official_files
import pytest
import torch
from official_files import filled_network, save, save_authors, save_nvidia, tiny_official
from PIL import Image
from safetensors.torch import load_file
from tiny_model import tiny_model, tiny_weights
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tpn_engine import Engine
from tpn_engine.checkpoints import add_model, catalog, load_model, remove_model, verify_model
from tpn_engine.checkpoints.add import GENERATOR_PART, addition
from tpn_engine.checkpoints.fit import expected_tensors, misfit, unfilled_network
from tpn_engine.checkpoints.load import Model
from tpn_engine.errors import ModelError, OptionError
from tpn_engine.nets.presets import (
    GeneratorPreset,
    RenderingPreset,
    SuperResolutionPreset,
    ffhq512_128,
)
from tpn_engine.progress import SILENT

VARIANTS = [(1, True), (2, False), (2, True)]
Version = Literal[1, 2]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own."""
    folder = tmp_path / "models"
    monkeypatch.setenv("TPN_MODELS", str(folder))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def add(*paths: Path) -> Path:
    """Install tiny files of the official layout."""
    with addition(paths, preset_of=tiny_official) as prepared:
        return prepared.write(SILENT)


def assert_same(model: Model, network: torch.nn.Module) -> None:
    """Every weight came through exactly: the authors' numbers are not to be rounded."""
    state, expected = model.network.state_dict(), network.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(state[key], value), key
    assert torch.equal(model.network.latent_avg, network.latent_avg)  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "pixel_shuffle"), VARIANTS)
@pytest.mark.parametrize("stream", [False, True], ids=["zip", "stream"])
def test_the_authors_files_become_a_model(version: Version, pixel_shuffle: bool, stream: bool, files: Path) -> None:
    network = filled_network(tiny_official(version, pixel_shuffle))
    path = add(*save_authors(network, files, stream=stream))
    name = f"triplanenet-v{version}"
    model = load_model(name)
    assert model.preset == tiny_official(version, pixel_shuffle)  # the upsampling was read from the weights
    assert_same(model, network)
    assert (model.name, path.stem) == (name, name)
    assert "non-commercial" in model.licence
    assert "ffhq512-128.pth (SHA-256 " in model.origin
    assert sorted(file.name for file in path.parent.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    assert [entry.present for entry in catalog() if entry.name == name] == [True]
    assert model.sha256 in verify_model(name)


def test_the_average_code_may_come_first_and_serves_both_versions(files: Path, models: Path) -> None:
    second, generator = save_authors(filled_network(tiny_official(2, False)), files)
    first, _ = save_authors(filled_network(tiny_official(1, True)), files)
    part = add(generator)
    assert part == models / "parts" / f"{GENERATOR_PART}.safetensors"
    add(second)
    remove_model(GENERATOR_PART)
    assert not list(part.parent.iterdir())
    add(first)  # from the other version
    assert torch.equal(load_model("triplanenet-v1").network.latent_avg, goldens.latent_avg(32))


def test_a_missing_average_code_is_asked_for_by_name(files: Path, models: Path) -> None:
    network = filled_network(tiny_official(2, False))
    checkpoint, _ = save_authors(network, files)
    nvidia = save_nvidia(network, files / "ffhq512-128.pkl")
    for given in ([checkpoint], [checkpoint, nvidia]):
        with pytest.raises(ModelError, match=r"latent_avg is missing.*ffhq512-128\.pth.*drive\.google\.com"):
            add(*given)
    add(nvidia)
    with pytest.raises(ModelError, match="latent_avg is missing"):
        add(checkpoint)
    assert not (models / "triplanenet-v2.safetensors").exists()


def test_the_average_code_of_another_generator_is_refused(files: Path, models: Path) -> None:
    network = filled_network(tiny_official(2, False))
    checkpoint, _ = save_authors(network, files)
    network.decoder.decoder.net[0].weight.data.normal_()  # type: ignore[operator]
    other = save(official_files.generator_checkpoint(network), files / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth is another generator"):
        add(checkpoint, other)
    assert not models.exists()


def test_a_checkpoint_that_holds_its_average_code_is_enough(files: Path) -> None:
    network = filled_network(tiny_official(2, True))
    content = official_files.triplanenet_checkpoint(network) | {"latent_avg": network.latent_avg[None]}
    add(save(content, files / "own.pth"))
    assert_same(load_model("triplanenet-v2"), network)


def test_nvidias_pickle_is_read_without_running_its_source(files: Path, models: Path) -> None:
    canary = files / "canary"
    network = filled_network(tiny_official(2, False))
    source = f"open({str(canary)!r}, 'w').close()"
    part = add(save_nvidia(network, files / "ffhq512-128.pkl", source=source))
    assert not canary.exists()
    stored = load_file(part)
    expected = {f"decoder.{key}": value for key, value in network.decoder.state_dict().items()}
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[key], value) for key, value in expected.items())


def test_the_pickle_of_the_reference(files: Path) -> None:
    """The names in our file are those seen in a real one, and its numbers are those of the reference."""
    reference = goldens.read_json("persistence_tiny")
    generator = GeneratorPreset(
        z_dim=32,
        channel_base=1024,
        channel_max=16,
        render_resolution=64,
        rendering=RenderingPreset(depth_samples=12, importance_samples=12),
        super_resolution=SuperResolutionPreset(kind="2x", input_resolution=64),
        image_resolution=128,
    )
    tiny = tiny_official(2, False)
    small = replace(tiny.refiner, resolution=256, body=replace(tiny.refiner.body, channels=(16, 16, 16, 16, 16)))
    preset = replace(tiny, generator=generator, refiner=small)
    network = filled_network(preset)
    resolution = reference["attributes"]["neural_rendering_resolution"]
    path = save_nvidia(network, files / "tiny_eg3d.pkl", resolution=resolution)
    seen = {name.replace("numpy.core.", "numpy._core.") for name in named_in(path.read_bytes())}
    assert sorted(seen) == reference["tiny_eg3d.pkl"]["globals"]

    with addition([path], preset_of=lambda version, pixel_shuffle: preset) as prepared:
        stored = load_file(prepared.write(SILENT))
    crc = {key.removeprefix("decoder."): zlib.crc32(value.numpy().tobytes()) for key, value in stored.items()}
    assert crc == reference["state_dict_crc32"]


def named_in(content: bytes) -> set[str]:
    """Every "module.name" that a pickle asks for, by Python's own reader of opcodes."""
    named, texts, memo, last = set(), [], [], None
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "MEMOIZE":
            memo.append(last)
            continue
        if opcode.name == "STACK_GLOBAL":
            named.add(".".join(texts[-2:]))
        last = memo[argument] if "BINGET" in opcode.name else argument  # type: ignore[index]
        if isinstance(last, str):
            texts.append(last)
    return named


def with_setting(name: str, value: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    if name in kwargs["rendering_kwargs"]:
        return {**kwargs, "rendering_kwargs": {**kwargs["rendering_kwargs"], name: value}}
    return {**kwargs, name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("img_resolution", 128),
        ("box_warp", 1.6),
        ("ray_start", 0.1),
        ("avg_camera_pivot", [0, 0, -0.06]),  # EG3D's cats: the same keys and shapes
        ("superresolution_module", "models.eg3d.superresolution.SuperresolutionHybrid4X"),
    ],
)
def test_generators_of_other_things_are_refused(name: str, value: Any, files: Path, models: Path) -> None:
    content = official_files.generator_checkpoint(filled_network(tiny_official(2, False)))
    content["init_kwargs"] = with_setting(name, value, content["init_kwargs"])
    with pytest.raises(ModelError, match="another generator than ffhq512-128"):
        add(save(content, files / "cats.pth"))
    assert not models.exists()


def test_a_generator_trained_at_another_rendering_size_is_refused(files: Path) -> None:
    network = filled_network(tiny_official(2, False))
    with pytest.raises(ModelError, match="rendering size is 64 instead of 16"):
        add(save_nvidia(network, files / "ffhq512-64.pkl", resolution=64))


def test_our_own_files_are_added_under_their_names(files: Path, models: Path) -> None:
    weights = tiny_weights(files)
    assert add_model([weights]) == models / "tiny.safetensors"
    assert load_model("tiny").sha256 == tiny_model(files).sha256
    assert catalog()[-1].name == "tiny"
    with pytest.raises(ModelError, match="remove it first"):
        add_model([weights])
    remove_model("tiny")
    assert not list(models.iterdir())
    with pytest.raises(ModelError):
        remove_model("tiny")


def test_the_licence_comes_first(files: Path, models: Path) -> None:
    network = filled_network(tiny_official(2, False))
    path = add(*save_authors(network, files)).rename(files / "mine.safetensors")
    (models / "triplanenet-v2.json").rename(files / "mine.json")
    with pytest.raises(OptionError, match=r"non-commercial.*LICENSE\.txt.*accept"):
        add_model([path])
    assert not list(models.iterdir())
    add_model([path], accept_licence=True)
    assert_same(load_model("triplanenet-v2"), network)


def test_the_embedded_model_stays() -> None:
    with pytest.raises(ModelError, match="stays"):
        remove_model("synthetic-heads")


@pytest.mark.parametrize(("version", "pixel_shuffle"), VARIANTS)
def test_every_key_of_the_official_files_fits_the_official_presets(version: Version, pixel_shuffle: bool) -> None:
    """By shapes alone: the keys are those of the reference networks, nothing is written."""
    suffix = "" if version == 1 else f"_pixelshuffle_{str(pixel_shuffle).lower()}"
    keys = goldens.network_keys(f"triplanenet_v{version}{suffix}")
    found = {
        key: torch.empty(entry["shape"], dtype=getattr(torch, entry["dtype"]), device="meta")
        for key, entry in keys.items()
    }
    expected = expected_tensors(unfilled_network(ffhq512_128(version, pixel_shuffle)))
    del expected["latent_avg"]
    assert misfit(expected, found) is None


# ---- the whole way, in numbers -------------------------------------------------------------------


def reference_photo() -> tuple[Tensor, Tensor]:
    """The aligned crop of the reference as the engine hands it to the networks, and its camera label."""
    with Image.open(goldens.folder() / "dataset" / "synthetic.png") as picture:
        crop = np.asarray(picture.convert("RGB"), np.float32) / 255
    return torch.from_numpy(crop).permute(2, 0, 1)[None] * 2 - 1, goldens.Golden("dataset").tensor("label")


@pytest.mark.parity
@pytest.mark.parametrize(("version", "pixel_shuffle"), VARIANTS)
def test_official_files_give_the_authors_numbers(version: Version, pixel_shuffle: bool, files: Path) -> None:
    """Written in full size, added, loaded by name, and run through the public interface."""
    name = f"triplanenet-v{version}"
    paths = save_authors(filled_network(ffhq512_128(version, pixel_shuffle)), files)
    try:
        add_model(paths, accept_licence=True)
        check_whole(Engine.load(name, "cpu").model, version, pixel_shuffle)
    finally:  # gigabytes, which pytest would keep
        for path in paths:
            path.unlink()
    remove_model(name)


@torch.inference_mode()
def check_whole(model: Model, version: Version, pixel_shuffle: bool) -> None:
    network = model.network
    photo, label = reference_photo()
    pivot = network.pivot(photo)
    planes = network.refine(pivot, photo, label)
    view = network.decoder.render(planes, pivot.codes, label).image
    if version == 1:
        golden = goldens.Golden("e2e_v1")
        golden.check("v1.codes", pivot.codes)
        golden.check("v1.triplane_offsets", (planes - pivot.planes).flatten(1, 2))
        golden.check("v1.y_hat", view)
        golden.check("v1.y_hat_256", adaptive_avg_pool2d(view, 256))
        return
    golden = goldens.Golden(f"e2e_v2_ps{int(pixel_shuffle)}")
    golden.check("v2.codes", pivot.codes)
    golden.check("v2.triplanes_refined", planes.flatten(1, 2))
    golden.check("v2.y_hat", view)
    golden.check("v2.y_hat_resized", adaptive_avg_pool2d(view, 256))
