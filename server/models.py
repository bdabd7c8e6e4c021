"""The models as the front knows them: from their descriptions, without reading any weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from server.protocol import ModelInfo, ServiceError
from tpn_engine.checkpoints.catalog import CatalogEntry, catalog, how_to_install
from tpn_engine.checkpoints.description import description_path, read_description
from tpn_engine.errors import ModelError


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be used: `source` is what the engine loads, a name or a file."""

    name: str
    source: str
    sha256: str


class Models:
    """The catalogue, and the model that is used when a request names none.

    `default` is a name or the path of a .safetensors. Requests choose by name only.
    """

    def __init__(self, default: str) -> None:
        self._own = Path(default) if default.endswith(".safetensors") else None
        self.default = default if self._own is None else _name_of(self._own)

    def find(self, name: str | None) -> ModelChoice:
        """The model of that name, or the default; raises ServiceError and ModelError."""
        name = name or self.default
        entry = next((entry for entry in self._entries() if entry.name == name), None)
        if entry is None:
            known = ", ".join(entry.name for entry in self._entries())
            raise ServiceError("option", f"There is no model {name!r}: choose one of {known}.")
        if not entry.present:
            raise ModelError(f"The model {entry.name} is not installed: {how_to_install(entry)}.")
        description = read_description(description_path(entry.path))
        return ModelChoice(entry.name, str(entry.path), description.sha256)

    def describe(self) -> list[ModelInfo]:
        """Every model, present or not."""
        return [self._info(entry) for entry in self._entries()]

    def _entries(self) -> list[CatalogEntry]:
        entries = catalog()
        if self._own is None:
            return entries
        own = CatalogEntry(self.default, "the file this service was started with", "its own", self._own)
        return [own, *(entry for entry in entries if entry.name != own.name)]

    def _info(self, entry: CatalogEntry) -> ModelInfo:
        size = sha256 = problem = None
        licence = entry.licence
        if entry.present:
            try:
                description = read_description(description_path(entry.path))
                size, sha256, licence = entry.path.stat().st_size, description.sha256, description.licence
            except (ModelError, OSError) as error:
                problem = str(error)
        return ModelInfo(
            name=entry.name,
            summary=entry.summary,
            licence=licence,
            present=entry.present,
            default=entry.name == self.default,
            size=size,
            sha256=sha256,
            problem=problem,
        )


def _name_of(path: Path) -> str:
    """What the model in a file calls itself; the file's name while it can't be read."""
    try:
        return read_description(description_path(path)).name
    except ModelError:
        return path.stem
