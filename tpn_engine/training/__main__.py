"""Train a model: python -m tpn_engine.training --data HEADS --run RUN [--minutes M]."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from tpn_engine.checkpoints import load_model, save_model
from tpn_engine.errors import HeadCaptureError, OptionError
from tpn_engine.nets.presets import Preset, synthetic_heads
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.config import TrainingConfig
from tpn_engine.training.mapping import fit_mapping, single_codes
from tpn_engine.training.stages import initialise, scale_planes, stretch_density, unstretch_density
from tpn_engine.training.store import HeadStore
from tpn_engine.training.trainer import train_stage

CONFIG = Path(__file__).parent / "configs" / "synthetic-heads.json"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tpn_engine.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of head_*.npz files")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder for checkpoints and the log; goes on if used before"
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--start", metavar="MODEL", help="a model's name or file whose weights to go on from")
    parser.add_argument("--minutes", type=float, help="stop each phase after this long; a later run goes on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--export", type=Path, help="write the averaged weights as a model file when done")
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> None:
    """Run the phases in order and export the averaged weights."""
    config = TrainingConfig.load(options.config)
    preset = synthetic_heads()
    if config.preset != preset.name:
        raise OptionError(f"The configuration names the preset {config.preset!r}; only {preset.name!r} can be trained.")
    torch.manual_seed(config.seed)
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # twice as fast, and less exact than gradients are anyway
        torch.backends.cudnn.benchmark = True
    network = begun(preset, options.start, config)
    store = HeadStore(options.data, config.held_out_every, device)
    network.to(store.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    options.run.mkdir(parents=True, exist_ok=True)
    for name, stage in config.stages.items():
        scale_planes(network, stage.plane_gain)
        for entry in train_stage(network, name, preset, config, store, options.run, options.minutes):
            print(json.dumps(entry), flush=True)
    codes, labels = single_codes(network, store)
    error = fit_mapping(network, codes, labels, config.seed)
    print(json.dumps({"stage": "mapping", "codes": len(codes), "error": round(error, 4)}), flush=True)
    if options.export:
        stretch_density(network, preset.iso_level, config.density_shift, config.density_stretch)
        origin = f"trained on {len(store.files)} synthetic heads with tpn_engine.training: {json.dumps(asdict(config))}"
        save_model(network.cpu(), preset.name, options.export, licence="CC0-1.0", origin=origin)


def begun(preset: Preset, start: str | None, config: TrainingConfig) -> TriPlaneNet:
    """A network to train: fresh, or with the weights of a model; raises OptionError for one of another preset."""
    if start is None:
        network = TriPlaneNet(preset)
        initialise(network)
        return network
    model = load_model(start)
    if model.preset != preset:
        raise OptionError(f"{start} has other sizes than the preset {preset.name!r}: it can't be gone on from.")
    unstretch_density(model.network, preset.iso_level, config.density_shift, config.density_stretch)
    return model.network


def main() -> int:
    """Entry point; 1 with one line when something is wrong."""
    try:
        train(parse())
    except HeadCaptureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
