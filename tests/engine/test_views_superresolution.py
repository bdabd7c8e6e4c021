"""Super-resolved pictures are the generator's own, those of the authors' code included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import goldens
import numpy as np
import pytest
import torch
from goldens import Golden, make_input
from PIL import Image
from tiny_model import disc_portrait, tiny_preset
from videos import decoded

from tpn_engine import Camera, Capture
from tpn_engine.checkpoints import Model, load_model, save_model
from tpn_engine.cli import main
from tpn_engine.errors import OptionError
from tpn_engine.inversion.invert import invert
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.presets import GeneratorPreset, RenderingPreset, SuperResolutionKind, SuperResolutionPreset
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.views.cameras import around
from tpn_engine.views.superresolution import super_resolve


@pytest.mark.parametrize(
    ("kind", "input_resolution", "size"),
    [("2x", 64, 128), pytest.param("8xdc", 128, 512, marks=pytest.mark.parity)],
)
def test_pictures_are_those_of_the_authors_code(kind: SuperResolutionKind, input_resolution: int, size: int) -> None:
    golden = Golden(f"tiny{size}")
    preset = GeneratorPreset(
        z_dim=32,
        channel_base=1024,
        channel_max=16,
        render_resolution=32,
        rendering=RenderingPreset(depth_samples=12, importance_samples=12),
        super_resolution=SuperResolutionPreset(kind, input_resolution),
        image_resolution=size,
    )
    generator = Generator(preset).requires_grad_(False)
    goldens.fill(generator)
    labels = golden.tensor("tiny.c")
    codes = generator.mapping(make_input("tiny.z", (2, 32)), labels, 0.7)
    planes = generator.planes(codes)
    pictures = [
        super_resolve(generator.field(planes[index]), Camera.from_label(labels[index].numpy()), generator, codes[index])
        for index in range(2)
    ]
    assert pictures[0].shape == (size, size, 3)
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) * 2 - 1
    # Ours are clipped to what a picture file holds; the golden is compared there.
    generated = generator.render(planes, codes, labels).image
    golden.check("tiny.image", generated, floor=("tiny128", "image"))
    torch.testing.assert_close(images, generated.clamp(-1, 1), rtol=0, atol=1e-4)
    assert images.std() > 0.05


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a super-resolution from 16 to 32 pixels, saved."""
    torch.manual_seed(0)
    generator = replace(tiny_preset().generator, super_resolution=SuperResolutionPreset("2x", 16))
    network = TriPlaneNet(replace(tiny_preset(), generator=generator)).eval().requires_grad_(False)
    network.latent_avg = torch.randn(32)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(network, "tiny", path, licence="CC0-1.0", origin="random weights for tests")
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return load_model(weights)


@pytest.fixture(scope="module")
def capture(model: Model) -> Capture:
    return invert(model, disc_portrait())


def test_a_captures_picture_is_the_generators_final_one(model: Model, capture: Capture) -> None:
    for angle in (None, 40.0):
        camera = capture.camera if angle is None else around(angle)
        with torch.inference_mode():
            label = torch.from_numpy(camera.label)[None]
            generated = model.network.decoder.render(capture.field.planes[None], capture.codes[None], label).image[0]
        expected = ((generated + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy()
        picture = np.asarray(capture.render(angle, size=32, super_resolution=model))
        np.testing.assert_allclose(picture / 255, expected, atol=0.6 / 255)
        assert not np.array_equal(picture, np.asarray(capture.render(angle, size=32)))


def test_turntables_show_the_final_pictures(model: Model, capture: Capture, tmp_path: Path) -> None:
    capture.turntable(tmp_path / "turn.mp4", 2, 32, super_resolution=model)
    frames = decoded(tmp_path / "turn.mp4")
    for frame, yaw in zip(frames, (0.0, 180.0), strict=True):
        expected = np.asarray(capture.render(yaw, size=32, super_resolution=model), np.float32)
        plain = np.asarray(capture.render(yaw, size=32), np.float32)
        assert np.abs(frame - expected).mean() < 0.5 * np.abs(frame - plain).mean()


def test_the_command_line_takes_the_models_path(
    weights: Path, model: Model, capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture.save(tmp_path / "disc.capture")
    arguments = ("disc.capture", "-o", "side.png", "--yaw", "30", "--size", "32", "--super-resolution", str(weights))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tpn", "render", *arguments, "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    expected = capture.render(30, size=32, super_resolution=model)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "side.png")), np.asarray(expected))


def test_only_the_model_that_made_a_head_super_resolves_it(model: Model, capture: Capture, tmp_path: Path) -> None:
    plain = replace(model, preset=tiny_preset())
    refusals = (
        ({"super_resolution": replace(model, sha256="0" * 64)}, "Only tiny"),
        ({"super_resolution": plain}, "no super-resolution"),
        ({"super_resolution": model, "size": 48}, "32 pixels"),
        ({"super_resolution": model, "show": "depth"}, "colours alone"),
    )
    for options, message in refusals:
        with pytest.raises(OptionError, match=message):
            capture.render(**{"size": 32, **options})
    with pytest.raises(OptionError, match="no super-resolution"):
        capture.turntable(tmp_path / "turn.mp4", 2, 32, super_resolution=plain)
    assert not list(tmp_path.iterdir())
