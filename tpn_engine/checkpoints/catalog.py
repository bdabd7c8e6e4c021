"""The models there are, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from tpn_engine.errors import ModelError

DEFAULT_MODEL = "synthetic-heads"
_EMBEDDED = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class CatalogEntry:
    """One named model; `path` is where its .safetensors is looked for."""

    name: str
    summary: str
    licence: str
    path: Path

    @property
    def present(self) -> bool:
        return self.path.is_file()


def models_folder() -> Path:
    """The folder of the user's own model files."""
    return user_data_path("tpn-engine", appauthor=False) / "models"


def catalog() -> list[CatalogEntry]:
    """Every model that can be asked for by name, the embedded one first."""
    own = "non-commercial (NVIDIA EG3D); the code is MIT"
    return [
        CatalogEntry(
            DEFAULT_MODEL,
            "our own, small, trained on synthetic heads; comes with the package",
            "CC0-1.0",
            _EMBEDDED / f"{DEFAULT_MODEL}.safetensors",
        ),
        CatalogEntry(
            "triplanenet-v2",
            "the authors' second model with EG3D ffhq512-128; add your own file",
            own,
            models_folder() / "triplanenet-v2.safetensors",
        ),
        CatalogEntry(
            "triplanenet-v1",
            "the authors' first model with EG3D ffhq512-128; add your own file",
            own,
            models_folder() / "triplanenet-v1.safetensors",
        ),
    ]


def find_weights(model: str | Path) -> Path:
    """The .safetensors of a model in the catalog, or of the path itself; raises ModelError."""
    path = Path(model)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError(f"There is no model file {path}.")
        return path
    entries = {entry.name: entry for entry in catalog()}
    entry = entries.get(str(model))
    if entry is None:
        raise ModelError(f"There is no model {str(model)!r}: choose {', '.join(entries)} or a file.")
    if not entry.present:
        raise ModelError(f"The model {entry.name} is not installed: its files belong at {entry.path}.")
    return entry.path
