"""What is wrong on this machine, and what is there, in sentences."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata

from tpn_engine.checkpoints.catalog import DEFAULT_MODEL, catalog, how_to_install, models_folder
from tpn_engine.checkpoints.load import load_model
from tpn_engine.errors import HeadCaptureError
from tpn_engine.version import __version__

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "Pillow",
    "scikit-image",
    "PyMCubes",
    "trimesh",
    "fast-simplification",
    "manifold3d",
    "safetensors",
    "av",
)


@dataclass(frozen=True)
class Finding:
    """One sentence, and whether it is fine."""

    fine: bool
    sentence: str


def examine() -> list[Finding]:
    """Look at the packages, the devices, the models, the portrait networks, video and the folders."""
    return [
        Finding(True, f"tpn-engine {__version__} on Python {platform.python_version()}, {platform.platform()}."),
        *_packages(),
        *_devices(),
        *_models(),
        _portrait_networks(),
        _video(),
        _folder(),
    ]


def _packages() -> list[Finding]:
    found, findings = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            findings.append(Finding(False, f"The package {package} is missing: pip install {package}."))
    return [*findings, Finding(True, f"Packages: {', '.join(found)}.")]


def _devices() -> list[Finding]:
    import torch

    from tpn_engine.devices import available_devices

    devices = available_devices()
    findings = [Finding(True, f"Networks run on {devices[0]} unless told otherwise; there is {', '.join(devices)}.")]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        findings.append(
            Finding(True, f"cuda:{index} is a {name} with {free / 2**30:.1f} of {total / 2**30:.1f} GB free.")
        )
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    findings.append(Finding(True, f"On the CPU, {threads} threads are used of {cores} cores."))
    return findings


def _models() -> list[Finding]:
    findings = []
    for entry in catalog():
        if not entry.present:
            needed = entry.name == DEFAULT_MODEL
            advice = "install tpn-engine again" if needed else how_to_install(entry)
            findings.append(Finding(not needed, f"The model {entry.name} is not here: {advice}."))
            continue
        try:
            model = load_model(entry.name)
        except HeadCaptureError as error:
            findings.append(Finding(False, str(error)))
        else:
            findings.append(
                Finding(True, f"The model {entry.name} is here and verified (SHA-256 {model.sha256[:12]}...).")
            )
    return findings


def _portrait_networks() -> Finding:
    try:
        from tpn_engine.portrait import PortraitReader

        PortraitReader()
    except (HeadCaptureError, OSError, ImportError) as error:
        return Finding(False, f"The portrait networks can't be loaded ({error}): install tpn-engine again.")
    return Finding(True, "The portrait networks are here.")


def _video() -> Finding:
    try:
        import av

        av.Codec("libx264", "w")
    except (ImportError, ValueError) as error:
        return Finding(False, f"Videos can't be written ({error}): pip install --force-reinstall av.")
    return Finding(True, "Videos can be written as H.264.")


def _folder() -> Finding:
    folder = models_folder()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(nearest, os.W_OK):
        return Finding(False, f"Your model folder {folder} can't be written to: check the rights on {nearest}.")
    return Finding(True, f"Your own models belong into {folder}.")
