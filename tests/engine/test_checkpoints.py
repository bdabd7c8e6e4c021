"""Models come back as they were saved, and nothing that does not fit is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_network, tiny_preset, tiny_weights
from torch import Tensor

from tpn_engine.checkpoints import catalog, load_model, save_model
from tpn_engine.checkpoints.description import Description, read_description, to_json
from tpn_engine.checkpoints.load import file_sha256
from tpn_engine.errors import ModelError, OptionError
from tpn_engine.nets.presets import Preset, ffhq512_128, synthetic_heads


def test_weights_are_kept_in_half_precision_and_used_in_full(tmp_path: Path) -> None:
    saved = tiny_network()
    loaded = load_model(tiny_weights(tmp_path))
    state = loaded.network.state_dict()
    assert state.keys() == saved.state_dict().keys()
    for key, value in saved.state_dict().items():
        if value.is_floating_point():
            assert state[key].dtype == torch.float32
            assert torch.equal(state[key], value.half().float()), key
    assert torch.equal(loaded.network.latent_avg, saved.latent_avg.half().float())
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert (loaded.name, loaded.preset, loaded.licence) == ("tiny", tiny_preset(), "CC0-1.0")
    assert loaded.sha256 == file_sha256(tmp_path / "tiny.safetensors")


def test_values_beyond_half_precision_stay_as_they_are(tmp_path: Path) -> None:
    network = tiny_network()
    network.latent_avg[0] = 1e6
    save_model(network, "tiny", tmp_path / "tiny.safetensors", licence="CC0-1.0", origin="test")
    assert load_model(str(tmp_path / "tiny.safetensors")).network.latent_avg[0] == 1e6


@pytest.mark.parametrize("preset", [tiny_preset(), synthetic_heads(), ffhq512_128(), ffhq512_128(1, True)])
def test_a_description_holds_the_whole_preset(preset: Preset, tmp_path: Path) -> None:
    description = Description("name", preset, "0" * 64, "CC0-1.0", "here")
    path = tmp_path / "model.json"
    path.write_text(to_json(description))
    assert read_description(path) == description


def drop_a_key(tensors: dict[str, Tensor]) -> None:
    del tensors["decoder.decoder.net.0.weight"]


def add_a_key(tensors: dict[str, Tensor]) -> None:
    tensors["stranger"] = torch.zeros(1)


def change_a_shape(tensors: dict[str, Tensor]) -> None:
    tensors["decoder.decoder.net.0.weight"] = torch.zeros(3, 3)


def drop_the_average(tensors: dict[str, Tensor]) -> None:
    del tensors["latent_avg"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop_a_key, "decoder.decoder.net.0.weight is missing"),
        (add_a_key, "stranger is not part of it"),
        (change_a_shape, "(3, 3) instead of (16, 8)"),
        (drop_the_average, "latent_avg is missing"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], None], told: str, tmp_path: Path
) -> None:
    path = tiny_weights(tmp_path)
    tensors = {key: value.clone() for key, value in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    described = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**described, "sha256": file_sha256(path)}))
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert told in str(caught.value)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    path = tiny_weights(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        load_model(path)


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"format": 2}', '{"format": 1, "name": "x"}'],
)
def test_descriptions_that_say_nothing_are_refused(text: str, tmp_path: Path) -> None:
    path = tiny_weights(tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError):
        load_model(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("plane_axes", "xyz"), ("w_dim", 3.5), ("w_dim", True), ("rendering", 3), ("unknown", 1)],
)
def test_presets_with_wrong_values_are_refused(key: str, value: object, tmp_path: Path) -> None:
    path = tiny_weights(tmp_path)
    described = json.loads(path.with_suffix(".json").read_text())
    described["preset"]["generator"][key] = value
    path.with_suffix(".json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match="does not describe a model"):
        load_model(path)


def test_a_model_without_its_description_is_refused(tmp_path: Path) -> None:
    path = tiny_weights(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match="is missing"):
        load_model(path)


def test_unknown_models_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModelError, match="synthetic-heads"):
        load_model("someone-elses")
    with pytest.raises(ModelError, match="There is no model file"):
        load_model("nowhere.safetensors")


def test_the_catalog_starts_with_the_embedded_model() -> None:
    entries = catalog()
    assert [entry.name for entry in entries] == ["synthetic-heads", "triplanenet-v2", "triplanenet-v1"]
    assert all("non-commercial" in entry.licence for entry in entries[1:])


def test_models_are_saved_as_safetensors_only(tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        save_model(tiny_network(), "tiny", tmp_path / "tiny.pt", licence="", origin="")
    assert not list(tmp_path.iterdir())
