"""Whose head a file holds, as far as fairness asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEDIUM_SKIN, DARK_SKIN = 0.33, 0.6  # of the sampler's melanin axis, where the tones begin
OFTENER = {"female": 1.6, "child": 1.6}  # drawn by this factor: long hair and small heads are harder to learn


@dataclass(frozen=True)
class Person:
    """Which groups a head belongs to: "dark", "medium" or "light" skin, its sex and its band of age."""

    skin: str
    sex: str
    age: str

    @classmethod
    def load(cls, path: Path) -> Person | None:
        """Of a head's file; None if that doesn't say whose head it is."""
        with np.load(path) as file:
            if not {"melanin", "female", "age"} <= set(file.files):
                return None
            melanin, female, age = float(file["melanin"]), bool(file["female"]), str(file["age"])
        skin = "dark" if melanin > DARK_SKIN else "medium" if melanin > MEDIUM_SKIN else "light"
        return cls(f"{skin} skin", "female" if female else "male", age)

    @property
    def groups(self) -> tuple[str, str, str]:
        """The names of the three groups."""
        return self.skin, self.sex, self.age

    @property
    def weight(self) -> float:
        """How often to draw such a head, beside others of the same tone."""
        return OFTENER.get(self.sex, 1.0) * OFTENER.get(self.age, 1.0)


def fair_chances(people: Sequence[Person | None]) -> np.ndarray:
    """How often to draw each of the heads, [N] with sum 1, for every tone of skin to come equally often.

    Within a tone, groups that are harder to learn come oftener. Heads whose files don't say whose they are, None,
    count as a tone of their own.
    """
    skins = ["" if person is None else person.skin for person in people]
    weights = np.array([1.0 if person is None else person.weight for person in people])
    totals = dict.fromkeys(skins, 0.0)
    for skin, weight in zip(skins, weights, strict=True):
        totals[skin] += weight
    return weights / np.array([len(totals) * totals[skin] for skin in skins])
