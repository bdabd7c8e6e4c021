"""The net that reads a face's relief: python -m tpn_engine.training.displacement --heads HEADS --out FILE ...

It learns from rendered heads, as a model makes them and as they are: `training/relief_examples.py`. What it says is
measured on heads that it hasn't learned from. Examples that are in their folder already are not made again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from tpn_engine.checkpoints import load_model
from tpn_engine.errors import HeadCaptureError
from tpn_engine.files import replacing
from tpn_engine.nets.displacement_net import UNIT, DisplacementNet
from tpn_engine.surface.flat_face import FlatFace
from tpn_engine.training.data import head_files
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.learner_options import learner_options
from tpn_engine.training.relief_examples import flat_layout, make_examples

STEPS, BATCH, RATE, WARM_UP = 1200, 8, 2e-3, 50
DECAY = 0.02  # of weights
LEFT_OUT = 12  # one head in so many measures
SOFT, SOFT_STEP = 0.2, 0.1  # units below which errors, and errors of steps between pixels, count squared
STEPS_COUNT = 2.0  # steps between pixels beside values
SHADE, LIGHTS = 0.15, 3  # of pictures: light that differs by as much from here to there, in so many places a row
EVERY = 100  # steps between two lines


@dataclass(frozen=True)
class Batch:
    """Examples as the net sees them: picture [B, 3, S, S] and relief, answer and where it is known, [B, S, S]."""

    picture: Tensor
    relief: Tensor
    farther: Tensor
    known: Tensor

    @classmethod
    def load(cls, files: list[Path]) -> Batch:
        """All examples of some files."""
        heads = [np.load(file) for file in files]
        picture, relief, farther, known = (
            torch.from_numpy(np.concatenate([head[name] for head in heads]))
            for name in ("picture", "relief", "farther", "known")
        )
        return cls(picture.permute(0, 3, 1, 2).float() / 255, relief.float(), farther.float(), known.float())

    def some(self, index: Tensor) -> Batch:
        """Those of an index [N]."""
        return Batch(self.picture[index], self.relief[index], self.farther[index], self.known[index])

    def mirrored(self) -> Batch:
        """Left and right exchanged."""
        return Batch(self.picture.flip(-1), self.relief.flip(-1), self.farther.flip(-1), self.known.flip(-1))


def photographed(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [B, 3, S, S] as photos might have them: other gammas, colours, lights, blur and noise."""
    count = len(picture)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator)

    picture = picture.clamp(0, 1) ** torch.exp(drawn(1, 1, 1) - 0.5)
    picture = picture * (1 + 0.3 * (drawn(3, 1, 1) - 0.5))
    picture = torch.lerp(picture, picture.mean(1, keepdim=True), drawn(1, 1, 1) ** 2)
    blurred = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = torch.where(drawn(1, 1, 1) < 0.4, blurred, picture)
    light = SHADE * torch.randn(count, 1, LIGHTS, LIGHTS, generator=generator)
    light = F.interpolate(light, size=picture.shape[-2:], mode="bicubic", align_corners=True)
    noise = 0.02 * drawn(1, 1, 1) * torch.randn(picture.shape, generator=generator)
    return picture * torch.exp(light) + noise


def loss(told: Tensor, batch: Batch) -> Tensor:
    """Of displacements [B, S, S]: how far they are off, and how far the steps from pixel to pixel are."""
    error = (told - batch.farther) / UNIT
    total = _mean((error.square() + SOFT**2).sqrt(), batch.known)
    for axis in (1, 2):
        step, known = error.diff(dim=axis), batch.known
        both = known.narrow(axis, 1, known.shape[axis] - 1) * known.narrow(axis, 0, known.shape[axis] - 1)
        total = total + STEPS_COUNT * _mean((step.square() + SOFT_STEP**2).sqrt(), both)
    return total


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum()


def train(examples: Batch, covered: Tensor, steps: int, seed: int = 0) -> DisplacementNet:
    """A net that has learned from examples for some steps, on this many threads the same every time."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = DisplacementNet()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 0.5 + 0.5 * float(np.cos(np.pi * step / steps)))
    )
    for step in range(steps):
        batch = examples.some(torch.randint(len(examples.relief), (BATCH,), generator=generator))
        if torch.rand((), generator=generator) < 0.5:
            batch = batch.mirrored()
        relief = batch.relief * (0.8 + 0.4 * torch.rand(BATCH, 1, 1, generator=generator))
        error = loss(net(photographed(batch.picture, generator), relief, covered), batch)
        optimizer.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % EVERY == EVERY - 1:
            print(f"step {step + 1} of {steps}: {error.item():.3f}", file=sys.stderr, flush=True)
    return net.eval().requires_grad_(False)


@torch.inference_mode()
def off(net: DisplacementNet, examples: Batch, covered: Tensor) -> tuple[float, float]:
    """How far a relief is off before and with the net, root mean square, EG3D units."""
    parts = [examples.some(index) for index in torch.arange(len(examples.relief)).split(BATCH)]
    told = torch.cat([net(part.picture, part.relief, covered) for part in parts])
    before, after = (_mean(error.square(), examples.known) for error in (examples.farther, examples.farther - told))
    return float(before.sqrt()), float(after.sqrt())


def write_net(net: DisplacementNet, flat: FlatFace, out: Path) -> None:
    """Write the file that `surface/displacement.py` reads; weights as float16."""
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    tensors["places"] = torch.from_numpy(flat.places).float()
    with replacing(out) as unfinished:
        unfinished.write_bytes(save(tensors))


def main() -> int:
    """Entry point; 1 with one line when something is wrong."""
    parser = learner_options("displacement", __doc__)
    parser.add_argument("--examples", type=Path, required=True, help="folder in which examples are kept")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of {BATCH} examples each")
    options = parser.parse_args()
    try:
        flat, files = flat_layout(), head_files(options.heads, options.held_out_every)[0]
        made = make_examples(load_model(options.model), HeadAssets.load(options.assets), files, flat, options.examples)
    except HeadCaptureError as error:
        print(error, file=sys.stderr)
        return 1
    covered = torch.from_numpy(flat.covered)
    left_out = made[::LEFT_OUT]
    net = train(Batch.load(sorted(set(made) - set(left_out))), covered, options.steps)
    before, after = off(net, Batch.load(left_out), covered)
    write_net(net, flat, options.out)
    print(f"{len(made)} heads; on one in {LEFT_OUT} of them, {before:.5f} EG3D units off before, {after:.5f} with it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
