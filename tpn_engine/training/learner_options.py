"""What the commands take that learn from heads how to mend a model's meshes."""

from __future__ import annotations

import argparse
from pathlib import Path


def learner_options(command: str, about: str | None) -> argparse.ArgumentParser:
    """The options of `python -m tpn_engine.training.<command>`, to which it adds its own."""
    parser = argparse.ArgumentParser(prog=f"python -m tpn_engine.training.{command}", description=about)
    parser.add_argument("--assets", type=Path, required=True, help="folder of head assets")
    parser.add_argument("--heads", type=Path, required=True, help="folder of heads that the model hasn't seen")
    parser.add_argument("--model", default="synthetic-heads", help="a model's name or the path of its .safetensors")
    parser.add_argument("--held-out-every", type=int, default=50, metavar="N", help="one head in N is left out")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    return parser
