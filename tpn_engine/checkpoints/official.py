"""What the official files hold: TriPlaneNet's checkpoints and EG3D's generators, by their own key names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tpn_engine.checkpoints.fit import LATENT_AVERAGE
from tpn_engine.checkpoints.pickles import DAMAGED, Held, RefusedError
from tpn_engine.checkpoints.torch_files import PARAMETER, StoredTensor

GENERATOR = "decoder."  # the prefix of the generator's keys in a TriPlaneNet
_REFINER = "triplanenet_encoder."
_GENERATOR_MARK = "backbone.synthesis."
_LONGEST_KEY = 300
_MOST_KEYS = 20_000


@dataclass(frozen=True)
class Found:
    """The weights in a file, named as in a TriPlaneNet: a generator's keys begin with "decoder.".

    `settings` are what the generator was built with, as far as the file says; `render_resolution` is
    what it was last trained at.
    """

    kind: Literal["triplanenet", "generator"]
    tensors: dict[str, StoredTensor]
    latent_average: StoredTensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    render_resolution: int | None = None


def recognised(value: Any) -> Found:
    """What the value of a checkpoint file is; raises RefusedError for anything else."""
    if not isinstance(value, dict):
        raise RefusedError("holds neither TriPlaneNet nor an EG3D generator")
    average = value.get(LATENT_AVERAGE)
    if average is not None and type(average) is not StoredTensor:
        raise RefusedError("holds a latent_avg that is no tensor")
    state = value.get("state_dict", value)
    if _has(state, _REFINER):
        return Found("triplanenet", state_tensors(state), average)
    generator = value.get("G_ema", value)
    if isinstance(generator, Held):
        attributes = generator.state if isinstance(generator.state, dict) else {}
        resolution = attributes.get("neural_rendering_resolution")
        return Found(
            "generator",
            _module_tensors(generator),
            average,
            _settings(attributes.get("_init_kwargs")),
            resolution if isinstance(resolution, int) else None,
        )
    if _has(generator, _GENERATOR_MARK):
        return Found("generator", state_tensors(generator, GENERATOR), average, _settings(value.get("init_kwargs")))
    parts = ", ".join(str(key)[:30] for key in list(value)[:4] if isinstance(key, str))
    raise RefusedError(f"holds neither TriPlaneNet nor an EG3D generator (but {parts or 'nothing'})")


def _has(state: Any, prefix: str) -> bool:
    return isinstance(state, dict) and any(isinstance(key, str) and key.startswith(prefix) for key in state)


def state_tensors(state: dict[Any, Any], prefix: str = "") -> dict[str, StoredTensor]:
    """A state dict's tensors, `prefix` before their names, without latent_avg; raises RefusedError for other things."""
    found = {}
    if len(state) > _MOST_KEYS:
        raise RefusedError("holds more tensors than any model: it may be hostile")
    for key, value in state.items():
        if key == LATENT_AVERAGE:
            continue
        tensor = value.arguments[0] if _is_parameter(value) else value
        if type(key) is not str or type(tensor) is not StoredTensor:
            raise RefusedError(f"holds something other than a tensor as {str(key)[:60]!r}")
        found[prefix + key] = tensor
    return found


def _is_parameter(value: Any) -> bool:
    return type(value) is Held and value.path == PARAMETER and len(value.arguments) > 0


def _module_tensors(generator: Held) -> dict[str, StoredTensor]:
    """The state dict of an inert module, by the attributes that torch's modules have."""
    found: dict[str, StoredTensor] = {}
    waiting: list[tuple[str, Any]] = [(GENERATOR, generator)]
    seen = 0
    while waiting:
        prefix, module = waiting.pop()
        state = module.state if isinstance(module, Held) else None
        if not isinstance(state, dict) or len(prefix) > _LONGEST_KEY:
            raise RefusedError(DAMAGED)
        transient = state.get("_non_persistent_buffers_set", ())
        for attribute in ("_parameters", "_buffers", "_modules"):
            for name, value in _part(state, attribute).items():
                seen += 1  # modules may hold each other: without a bound this would not end
                if seen > _MOST_KEYS or type(name) is not str:
                    raise RefusedError(DAMAGED)
                if attribute == "_modules" and value is not None:
                    waiting.append((f"{prefix}{name[:_LONGEST_KEY]}.", value))
                elif type(value) is StoredTensor and name not in transient:
                    found[prefix + name] = value
                elif value is not None and type(value) is not StoredTensor:
                    raise RefusedError(f"holds something other than a tensor as {(prefix + name)[:60]!r}")
    return found


def _part(state: dict[Any, Any], attribute: str) -> dict[Any, Any]:
    part = state.get(attribute)
    if not isinstance(part, dict):
        raise RefusedError(DAMAGED)
    return part


def _settings(given: Any) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}
