"""Under which terms the authors' weights may be used, in our words; the texts themselves are linked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Terms:
    """What a user accepts before a model is fetched or added: a short name, our summary, the full texts."""

    name: str
    summary: str
    links: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.summary, *self.links])


EG3D = Terms(
    "non-commercial (NVIDIA EG3D); the code is MIT",
    "These weights contain or derive from NVIDIA's EG3D generator. Its licence, the NVIDIA Source Code License "
    "for EG3D, allows use for research and evaluation only, not for any direct or indirect monetary gain; the "
    "same limit applies to whatever is derived from it, and whoever passes it on passes the licence on with it. "
    "TriPlaneNet's own code is under the MIT licence. Nothing here is legal advice: the texts below are what counts.",
    (
        "https://github.com/NVlabs/eg3d/blob/main/LICENSE.txt",
        "https://github.com/anantarb/triplanenet/blob/main/LICENSE",
    ),
)
