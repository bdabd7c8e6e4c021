"""The models there are, where they come from, and where their files lie."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path

from tpn_engine.checkpoints.description import read_description
from tpn_engine.checkpoints.terms import EG3D, Terms
from tpn_engine.errors import ModelError

DEFAULT_MODEL = "synthetic-heads"
FOLDER_VARIABLE = "TPN_MODELS"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]+)*")
_EMBEDDED = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Source:
    """A file of the authors: `url` is where it is fetched, `page` where a person finds it.

    `size` in bytes and `sha256` are those that are known; the authors publish neither.
    """

    file: str
    holds: Literal["triplanenet", "generator"]
    url: str
    page: str
    size: int | None = None
    sha256: str | None = None


def _drive(file: str, holds: Literal["triplanenet", "generator"], number: str) -> Source:
    """A file on Google Drive, by the number in its sharing link; `confirm` answers the warning for large files."""
    return Source(
        file,
        holds,
        f"https://drive.usercontent.google.com/download?id={number}&export=download&confirm=t",
        f"https://drive.google.com/file/d/{number}/view",
    )


# The sharing links are those in the README of https://github.com/anantarb/triplanenet.
GENERATOR_SOURCE = _drive("ffhq512-128.pth", "generator", "1xi6C528TybEGyPgzWTUTRqCBbUdbg7Uc")
TRIPLANENET_SOURCES = {
    1: _drive("triplanenet_final.pth", "triplanenet", "17pzNC00BOFCu0oCqbCybfAiaZF7iwNUU"),
    2: _drive("triplanenet_v2_final.pth", "triplanenet", "1Q7hGZw97nTmRyJ-itVGRaFJn9KyjAuhn"),
}
# The same generator as its makers publish it, without the average code: it can be added, but is never enough.
# Its hash is that of a mirror, so a file with another one is not refused for it.
NVIDIA_GENERATOR_SOURCE = Source(
    "ffhq512-128.pkl",
    "generator",
    "https://api.ngc.nvidia.com/v2/models/nvidia/research/eg3d/versions/1/files/ffhq512-128.pkl",
    "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/eg3d",
    size=377_645_529,
    sha256="e737eeb9a3e1be1812164a70eec22e17b3cb3c57b45c306d01f7a54e58889298",
)


@dataclass(frozen=True)
class CatalogEntry:
    """One named model; `path` is where its .safetensors is looked for.

    `sources` are the files it is made from where they can be fetched, `terms` what must be accepted first.
    """

    name: str
    summary: str
    licence: str
    path: Path
    sources: tuple[Source, ...] = ()
    terms: Terms | None = None

    @property
    def present(self) -> bool:
        return self.path.is_file()


def models_folder() -> Path:
    """The folder of the user's own model files: `TPN_MODELS` if that is set."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else user_data_path("tpn-engine", appauthor=False) / "models"


def catalog() -> list[CatalogEntry]:
    """Every model that can be asked for by name: the embedded one, the authors', those the user added."""
    entries = [
        CatalogEntry(
            DEFAULT_MODEL,
            "our own, small, trained on synthetic heads; comes with the package",
            "CC0-1.0",
            _EMBEDDED / f"{DEFAULT_MODEL}.safetensors",
        ),
        _authors(2, "the authors' second model with EG3D ffhq512-128"),
        _authors(1, "the authors' first model with EG3D ffhq512-128"),
    ]
    known = {entry.name for entry in entries}
    return [*entries, *(entry for entry in _added() if entry.name not in known)]


def official_name(version: int) -> str:
    """The name of the authors' model of that version."""
    return f"triplanenet-v{version}"


def find_entry(name: str) -> CatalogEntry:
    """The model of that name; raises ModelError with the names there are."""
    entries = {entry.name: entry for entry in catalog()}
    if name not in entries:
        raise ModelError(f"There is no model {name!r}: choose {', '.join(entries)} or a file.")
    return entries[name]


def find_weights(model: str | Path) -> Path:
    """The .safetensors of a model in the catalog, or of the path itself; raises ModelError."""
    path = Path(model)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError(f"There is no model file {path}.")
        return path
    entry = find_entry(str(model))
    if not entry.present:
        raise ModelError(f"The model {entry.name} is not installed: {how_to_install(entry)}.")
    return entry.path


def how_to_install(entry: CatalogEntry) -> str:
    """What to do about a model that is not here, to follow a colon."""
    if not entry.sources:
        return f"its files belong at {entry.path}"
    return f"fetch it with `tpn models get {entry.name}`, or give the files you have to `tpn models add`"


def _authors(version: int, summary: str) -> CatalogEntry:
    name = official_name(version)
    sources = (TRIPLANENET_SOURCES[version], GENERATOR_SOURCE)
    return CatalogEntry(name, summary, EG3D.name, models_folder() / f"{name}.safetensors", sources, EG3D)


def _added() -> list[CatalogEntry]:
    """Models in the user's folder, by their descriptions; what can't be read is left to `verify`."""
    entries = []
    for path in sorted(models_folder().glob("*.safetensors")):
        if not MODEL_NAME.fullmatch(path.stem):
            continue
        try:
            licence = read_description(path.with_suffix(".json")).licence
        except ModelError:
            licence = "unknown: its description can't be read"
        entries.append(CatalogEntry(path.stem, "added by you", licence, path))
    return entries
