"""Installing, checking and removing models by name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tpn_engine.checkpoints.add import GENERATOR_PART, addition, part_path, stored_averages, verified
from tpn_engine.checkpoints.catalog import CatalogEntry, find_entry, how_to_install, models_folder
from tpn_engine.checkpoints.description import description_path
from tpn_engine.checkpoints.download import download
from tpn_engine.checkpoints.loss_weights import LOSS_WEIGHTS
from tpn_engine.checkpoints.perceptual import verified as verified_losses
from tpn_engine.checkpoints.terms import Terms
from tpn_engine.errors import FileError, ModelError, OptionError
from tpn_engine.progress import SILENT, Progress


def add_model(files: Sequence[Path], *, accept_licence: bool = False, progress: Progress = SILENT) -> Path:
    """Install what the user's own files hold, several files of one model together; the path it went to.

    Raises OptionError while the licence is not accepted, ModelError, FileError, CancelledError.
    """
    with addition(files) as prepared:
        check_accepted(prepared.name, prepared.terms, accept_licence)
        return prepared.write(progress)


def get_model(name: str, *, accept_licence: bool = False, progress: Progress = SILENT) -> Path:
    """Fetch a model from its authors and install it; the path it went to.

    An interrupted download goes on in the next call. Raises as `add_model`.
    """
    entry = find_entry(name)
    if entry.present:
        raise ModelError(f"The model {name} is here already.")
    if not entry.sources:
        raise ModelError(f"The model {name} can't be fetched: {how_to_install(entry)}.")
    check_accepted(name, entry.terms, accept_licence)
    folder = _downloads()
    needed = [source for source in entry.sources if source.holds != "generator" or not stored_averages()]
    files = [download(source, folder, progress) for source in needed]
    try:
        with addition(files) as prepared:
            if prepared.name != name:
                raise ModelError(f"The authors' file holds {prepared.name} instead of {name}.")
            path = prepared.write(progress)
    except ModelError:
        _clear(files)  # fetching them again is the only way on
        raise
    _clear(files)
    return path


def verify_model(name: str) -> str:
    """Check the keys, shapes and numbers of an installed model and, if it has one, its hash; raises ModelError.

    Returns what it is and where it comes from, in words.
    """
    if name in LOSS_WEIGHTS:
        return verified_losses(LOSS_WEIGHTS[name])
    entry = find_entry(name)
    if not entry.present:
        raise ModelError(f"The model {name} is not installed: {how_to_install(entry)}.")
    description = verified(entry.path)
    return f"SHA-256 {description.sha256}; {description.origin}"


def remove_model(name: str) -> None:
    """Delete a model's files, unfinished ones too; raises ModelError where there are none of the user's."""
    if name == GENERATOR_PART:
        files = _files_of(part_path())
    elif name in LOSS_WEIGHTS:
        files = [file for part in LOSS_WEIGHTS[name].parts for file in _files_of(part.path)]
    else:
        entry = find_entry(name)
        if entry.path.parent != models_folder():
            raise ModelError(f"The model {name} comes with the package and stays.")
        files = [*_files_of(entry.path), *_unfinished(entry)]
    if not files:
        raise ModelError(f"The model {name} is not installed.")
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{file} could not be removed ({error.strerror or type(error).__name__}).") from error


def check_accepted(name: str, terms: Terms | None, accepted: bool) -> None:
    """Raise OptionError, with the licence in our words and where to read it, unless it was accepted."""
    if terms is not None and not accepted:
        raise OptionError(
            f"{name} is licensed as {terms.name}: read {' and '.join(terms.links)}, then accept it (--accept-licence)."
        )


def _downloads() -> Path:
    return models_folder() / "downloads"


def _files_of(weights: Path) -> list[Path]:
    """A model's two files, and what an interrupted conversion left of them."""
    files = [weights, description_path(weights)]
    left = [file for suffix in ("safetensors", "json") for file in weights.parent.glob(f".{weights.stem}.*.{suffix}")]
    return [file for file in (*files, *left) if file.is_file()]


def _unfinished(entry: CatalogEntry) -> list[Path]:
    return [file for source in entry.sources for file in _downloads().glob(f"{source.file}*")]


def _clear(files: Sequence[Path]) -> None:
    with suppress(OSError):
        for file in files:
            file.unlink(missing_ok=True)
        _downloads().rmdir()
