"""Reference numbers of the authors' code: deterministic weights, inputs, and comparison with what was stored.

The folder is `TPN_GOLDENS`, or the copy beside these tests. Any folder of the same format will do:
everything that may differ (inputs' prefix, strides, keys, noise floor) is read from it.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

RELATIVE_TOLERANCE = 1e-4
FLOOR_FACTOR = 20.0  # of the authors' own noise floor, which is one processor's: AMD's Zen 5 comes to 14 times it
_FLOOR_STATISTICS = ("max", "p999", "mean")


def folder() -> Path:
    """Where the goldens are: `TPN_GOLDENS`, else tests/goldens."""
    return Path(os.environ.get("TPN_GOLDENS") or Path(__file__).parents[1] / "goldens")


def covered(weights: Tensor) -> np.ndarray:
    """Which rays meet anything: the depth of the others is a quotient of roundings, another on each processor."""
    return (weights > 1e-3).numpy().ravel()


@cache
def read_json(name: str) -> dict[str, Any]:
    return json.loads((folder() / f"{name}.json").read_text())


# ---- deterministic weights and inputs ------------------------------------------------------------


def normals(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals that depend on the name alone, float64."""
    seed = zlib.crc32(name.encode())
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size=shape)


def make_input(name: str, shape: tuple[int, ...], scale: float = 1.0, offset: float = 0.0) -> Tensor:
    """The input called `name`, float32."""
    values = offset + scale * normals(read_json("inputs")["input_prefix"] + name, shape)
    return torch.from_numpy(values.astype(np.float32))


def analytic_maps(name: str, lead: tuple[int, ...], size: int, amp: float, freq: float) -> Tensor:
    """Smooth maps [*lead, size, size]: one cosine wave each, its direction and phase by name."""
    prefix = read_json("inputs")["input_prefix"]
    p = normals(f"{prefix}{name}.params", (*lead, 3))[..., None, None, :]
    position = (np.arange(size) + 0.5) / size
    wave = freq * p[..., 0] * position + freq * p[..., 1] * position[:, None]
    return torch.from_numpy((amp * np.cos(2 * np.pi * wave + np.pi * p[..., 2])).astype(np.float32))


def network_keys(network: str) -> dict[str, dict[str, Any]]:
    """State-dict keys of a reference network, each with shape, dtype, rule, crc32."""
    return read_json("keys")[network]["keys"]


def expected_shapes(network: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(entry["shape"]) for key, entry in network_keys(network).items()}


def state_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


_GENERATOR_IN_TRIPLANENET = ("decoder.backbone.", "decoder.superresolution.", "decoder.decoder.")
_ENCODERS = ("psp_encoder.", "triplanenet_encoder.", "ir_se50.", "curricularface.")


def weight(name: str, shape: tuple[int, ...], *, batch_norm: bool = False) -> np.ndarray:
    """The deterministic parameter or buffer called `name` (WEIGHTS_RULE.md), float32 or int64.

    `batch_norm` says that a 1-D encoder weight belongs to a batch normalisation.
    """
    if name.startswith(_GENERATOR_IN_TRIPLANENET):
        name = name.removeprefix("decoder.")
    last = name.rsplit(".", 1)[-1]
    if last == "resample_filter":
        taps = np.array([1.0, 3.0, 3.0, 1.0])
        return (np.outer(taps, taps) / 64).astype(np.float32)
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    n = normals(name, shape)
    if name == "decoder.net.2.weight":
        values = 0.5 * n
        values[0] = 10.0 * np.abs(n[0])
    elif name == "decoder.net.2.bias":
        values = 0.5 * n
        values[0] = -98.0
    elif last == "running_var":
        values = 1 + 0.1 * np.abs(n)
    elif name.startswith(_ENCODERS) and last not in ("running_mean",):
        values = _encoder_weight(name, last, n, batch_norm)
    else:
        offset, scale = _generator_scale(name, last)
        values = offset + scale * n
    return np.asarray(values, np.float64).astype(np.float32)


def _generator_scale(name: str, last: str) -> tuple[float, float]:
    if last in ("noise_const", "const"):
        return 0.0, 1.0
    if last in ("noise_strength", "w_avg", "latent_avg", "running_mean"):
        return 0.0, 0.1
    if name.endswith(".affine.bias"):
        return 1.0, 0.1
    if "mapping.fc" in name:
        return 0.0, 100.0 if last == "weight" else 10.0
    if name == "decoder.net.0.weight":
        return 0.0, 2.0
    if name.startswith("superresolution.") and name.endswith(".torgb.weight"):
        return 0.0, 0.08
    return 0.0, 1.0 if last == "weight" else 0.1


def _encoder_weight(name: str, last: str, n: np.ndarray, batch_norm: bool) -> np.ndarray:
    parts = name.split(".")
    if last == "bias":
        return 0.1 * n
    if n.ndim == 1:
        return 1 + 0.1 * n if batch_norm else 0.25 + 0.02 * n
    if n.ndim == 2:
        if parts[-4:-3] == ["styles"] and parts[-2:] == ["linear", "weight"]:
            return 0.6 * n
        return n / np.sqrt(n.shape[1])
    gain = 1.0
    if "styles" in parts and "convs" in parts:
        gain = 1.4142135623730951
    elif "double_conv" in parts and parts[-5].startswith("up"):
        gain = 1.7
    elif parts[-3] in ("final_head", "final_head_two"):
        gain = {"0": 1.5, "2": 1.5, "4": 0.25}[parts[-2]]
    return gain * n / np.sqrt(np.prod(n.shape[1:]))


def fill(module: nn.Module, *, prefix: str = "", network: str | None = None) -> None:
    """Give every parameter and buffer of the state dict its deterministic value, in place.

    `prefix` goes before the module's own keys in the names (a pSp encoder alone: "psp_encoder.", an
    identity network: "ir_se50."). With `network` each value is checked against its CRC in keys.json.
    """
    crc = network_keys(network) if network else {}
    state = module.state_dict()
    filled = {}
    for key, tensor in state.items():
        stem = key.rpartition(".")[0]
        values = weight(prefix + key, tuple(tensor.shape), batch_norm=f"{stem}.running_mean" in state)
        if network:
            entry = crc[key] if key in crc else crc[prefix + key]
            assert zlib.crc32(values.tobytes()) == entry["crc32"], f"{prefix + key}: wrong CRC"
        filled[key] = torch.from_numpy(values)
    module.load_state_dict(filled)


def latent_avg(size: int = 512) -> Tensor:
    return torch.from_numpy(weight("latent_avg", (size,)))


# ---- stored tensors ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Error:
    """How far an output is from the reference: relative error, and absolute statistics."""

    relative: float
    max: float
    p999: float
    mean: float


def relative_error(output: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> float:
    """||output - reference|| / ||reference||, in float64."""
    out, ref = (np.asarray(x, np.float64) for x in (output, reference))
    return float(np.linalg.norm(out - ref) / max(np.linalg.norm(ref), 1e-12))


class Golden:
    """One file of reference tensors, for instance `Golden("tiny128")`."""

    def __init__(self, name: str):
        self.name = name
        self.entries = read_json(name)
        with np.load(folder() / f"{name}.npz") as stored:
            self.stored = {key: stored[key] for key in stored.files}

    def tensor(self, key: str) -> Tensor:
        """A tensor stored whole, in its shape, float32."""
        entry = self.entries[key]
        if entry["mode"] not in ("full", "f16", "f64"):
            raise KeyError(f"{self.name}/{key} is stored as {entry['mode']}, not whole")
        return torch.from_numpy(self.stored[key].astype(np.float32)).reshape(entry["shape"])

    def error(self, key: str, output: Tensor, mask: np.ndarray | None = None) -> Error:
        """Compare an output with the stored values (all of them, or every n-th; `mask` selects among them)."""
        out, ref = self._pair(key, output)
        if mask is not None:
            out, ref = out[mask], ref[mask]
        difference = np.abs(out - ref)
        return Error(
            relative=float(np.linalg.norm(out - ref) / max(np.linalg.norm(ref), 1e-12)),
            max=float(difference.max()),
            p999=float(np.quantile(difference, 0.999)),
            mean=float(difference.mean()),
        )

    def check(
        self,
        key: str,
        output: Tensor,
        *,
        floor: tuple[str, str] | None = None,
        mask: np.ndarray | None = None,
    ) -> Error:
        """Assert that an output equals the reference.

        With `floor` (a set and a quantity of noise_floor.json) every listed statistic of the absolute
        error is at most FLOOR_FACTOR times the authors' own; otherwise the relative error is at most 1e-4.
        A tensor stored as float16 may also differ by half a unit of its last place, which is the
        rounding of the reference itself. Without a mask the mean and the spread of the whole tensor
        are compared with the json's too: a sample alone can't see everything.
        """
        entry = self.entries[key]
        label = f"{self.name}/{key}"
        assert list(output.shape) == entry["shape"], f"{label}: shape {list(output.shape)}, not {entry['shape']}"
        if mask is None:
            self._check_statistics(label, entry, output)
        if entry["mode"] == "stats":
            return Error(0.0, 0.0, 0.0, 0.0)
        error = self.error(key, output, mask)
        rounding = self._rounding(key)
        if floor is None:
            limit = RELATIVE_TOLERANCE + rounding.relative
            assert error.relative <= limit, f"{label}: relative error {error.relative:.3g} > {limit:.3g}"
            return error
        listed = read_json("noise_floor")[floor[0]][floor[1]]
        for statistic in _FLOOR_STATISTICS:
            limit = FLOOR_FACTOR * listed[statistic] + getattr(rounding, statistic)
            found = getattr(error, statistic)
            assert found <= limit, f"{label}: {statistic} of the error {found:.3g} > {limit:.3g}"
        return error

    def _pair(self, key: str, output: Tensor) -> tuple[np.ndarray, np.ndarray]:
        entry = self.entries[key]
        values = output.detach().cpu().to(torch.float64).numpy().reshape(-1)
        return values[:: entry.get("stride", 1)], self.stored[key].astype(np.float64).reshape(-1)

    def _rounding(self, key: str) -> Error:
        """The most that storing the reference as float16 can have moved it."""
        if self.entries[key]["mode"] != "f16":
            return Error(0.0, 0.0, 0.0, 0.0)
        ref = np.abs(self.stored[key])
        half = np.spacing(ref).astype(np.float64).reshape(-1) / 2
        relative = float(np.linalg.norm(half) / max(np.linalg.norm(ref.astype(np.float64)), 1e-12))
        return Error(relative, float(half.max()), float(half.max()), float(half.mean()))

    def _check_statistics(self, label: str, entry: dict[str, Any], output: Tensor) -> None:
        values = output.detach().cpu().to(torch.float64)
        scale = max(abs(entry["mean"]), entry["std"], 1e-12)
        for statistic, found in (("mean", values.mean()), ("std", values.std(correction=0))):
            off = abs(float(found) - entry[statistic]) / scale
            assert off <= RELATIVE_TOLERANCE, f"{label}: {statistic} {float(found)}, not {entry[statistic]}"
