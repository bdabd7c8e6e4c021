"""The methods of inversion and what can be set about each. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args, get_type_hints

from tpn_engine.errors import OptionError

Method = Literal["triplanenet", "refine_fit", "psp", "latent", "pivotal_tuning"]
Space = Literal["w", "w+"]
Start = Literal["mean", "encoder"]

METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT_METHOD: Method = "triplanenet"


@dataclass(frozen=True)
class PspOptions:
    """The pivot alone: nothing to set."""


@dataclass(frozen=True)
class TriplaneNetOptions:
    """`cascade`: version 1's second pass of the refinement; other versions refuse it."""

    cascade: bool = False


@dataclass(frozen=True)
class FitOptions:
    """What every optimisation has.

    `steps` are done unless `seconds` are over before. A run that took less than three quarters of them is the
    same for a `seed` on one machine; a slower one was hurried and may differ. `resolution` is the photo's edge
    as it is compared, `rays` about how many of its pixels each step renders; of opaque models four times as many
    are compared as points instead.
    """

    steps: int = 150
    seconds: float = 60.0
    seed: int = 0
    resolution: int = 128
    rays: int = 1024

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rays < 16 or not 16 <= self.resolution <= 512 or not self.seconds > 0:
            raise OptionError("A fit needs steps >= 1, rays >= 16, a resolution of 16 to 512 and seconds > 0.")


@dataclass(frozen=True)
class LatentOptions(FitOptions):
    """Optimisation of the latent codes alone (Karras et al. 2020, appendix D, with EG3D's schedule).

    One code for all layers ("w") or one for each ("w+"), from the generator's average or the encoder's
    codes. `learning_rate` and `code_noise` are in units of how far the encoder's codes are from the average.
    `noise_weight` keeps the generator's noise maps, where it has any, free of the photo's features.
    `landmark_weight` is that of the face's landmarks, in squares of the distance between the eyes.
    `lpips_weight` and `identity_weight` count where the weights of those networks are present (`tpn models list`).
    """

    space: Space = "w+"
    start: Start = "encoder"
    learning_rate: float = 0.01
    code_noise: float = 0.05
    noise_weight: float = 1e5
    landmark_weight: float = 0.0
    lpips_weight: float = 0.8
    identity_weight: float = 0.1


@dataclass(frozen=True)
class PivotalTuningOptions(FitOptions):
    """Pivotal tuning (Roich et al. 2022): the latent codes first, then the generator beneath their refinement.

    `pivot_steps` and `pivot_learning_rate` are the first phase's, `steps` and `learning_rate` (Adam's, of
    the weights as they are applied) the second's, in which the noise maps are tuned with the weights, at
    `map_learning_rate`. `keep_weight` holds the head, as for RefineFitOptions, to what the refinement made of it
    where the photo doesn't look. Every `locality_every` steps the generator is held to
    what it made at codes `locality_distance` away, in units as for LatentOptions. `landmark_weight`,
    `lpips_weight` and `identity_weight`, as for LatentOptions, are for both phases.
    """

    seconds: float = 180.0
    steps: int = 60
    resolution: int = 256
    rays: int = 3000
    space: Space = "w+"
    start: Start = "encoder"
    pivot_steps: int = 30
    pivot_learning_rate: float = 0.01
    learning_rate: float = 1e-4
    map_learning_rate: float = 0.005
    keep_weight: float = 6.0
    locality_weight: float = 1.0
    locality_every: int = 4
    locality_distance: float = 0.5
    landmark_weight: float = 0.0
    lpips_weight: float = 0.8
    identity_weight: float = 0.1


@dataclass(frozen=True)
class RefineFitOptions(FitOptions):
    """A fit of planes and camera after TriPlaneNet, held to it where the photo doesn't look.

    Each step asks the field at points on `rays` pixels' surface and about as many around the head. `learning_rate`
    is of the planes, in units of their root mean square, `camera_learning_rate` of the camera (radians and EG3D
    units; 0 leaves it alone). The weights are those of the silhouette, of what the field was where the photo
    doesn't look, and of the offsets' total variation.
    """

    seconds: float = 20.0
    steps: int = 30
    resolution: int = 256
    rays: int = 6000
    learning_rate: float = 0.01
    camera_learning_rate: float = 5e-5
    matte_weight: float = 0.05
    keep_weight: float = 6.0
    variation_weight: float = 1e-2


Options = PspOptions | TriplaneNetOptions | LatentOptions | PivotalTuningOptions | RefineFitOptions

OPTIONS: dict[Method, type[Options]] = {
    "triplanenet": TriplaneNetOptions,
    "refine_fit": RefineFitOptions,
    "psp": PspOptions,
    "latent": LatentOptions,
    "pivotal_tuning": PivotalTuningOptions,
}


def method_named(name: str) -> Method:
    """The method of that name; raises OptionError with the names there are."""
    if name not in METHODS:
        raise OptionError(f"There is no method {name!r}: choose {', '.join(METHODS)}.")
    return cast(Method, name)


def option_names(method: Method) -> list[str]:
    """What can be set about a method."""
    return [field.name for field in fields(OPTIONS[method])]


def make_options(method: str, settings: Mapping[str, Any]) -> Options:
    """The options of a method by their names; values may be texts, as typed on a command line.

    Raises OptionError for an unknown method or name, or a value of another type.
    """
    kind = OPTIONS[method_named(method)]
    hints = get_type_hints(kind)
    names = option_names(method_named(method))
    values = {}
    for name, value in settings.items():
        if name not in names:
            offer = f"it has {', '.join(names)}" if names else "it has no options"
            raise OptionError(f"The method {method} has no option {name!r}: {offer}.")
        values[name] = _converted(name, value, hints[name])
    return kind(**values)


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _converted(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`: bool, int, float or one of a Literal's texts."""
    choices = get_args(kind)
    if choices:
        if value in choices:
            return value
        raise OptionError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    try:
        if kind is bool:
            return _TRUTHS[str(value).lower()]
        if kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError
        return kind(value)
    except (KeyError, ValueError, TypeError):
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}[kind]
        raise OptionError(f"{name} must be {wanted}, not {value!r}.") from None
