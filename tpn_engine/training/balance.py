"""Whether heads of every group of people are inverted equally well."""

from __future__ import annotations

from collections.abc import Sequence

from tpn_engine.training.measures import ViewMeasures, mean_measures
from tpn_engine.training.person import Person

COLUMNS = {  # of the table: each measure's heading and how its numbers are written
    "psnr": ("PSNR dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "iou": ("silhouette IoU", ".3f"),
    "depth": ("depth error %", ".2f"),
    "landmarks": ("landmark error %", ".1f"),
}
LARGER_IS_BETTER = ("psnr", "ssim", "iou")


def balance(people: Sequence[Person], measures: Sequence[ViewMeasures]) -> dict[str, dict[str, float]]:
    """Each group's means over its heads, one measured view each, and how many `heads` it has; "all" comes first."""
    known = [(person.groups, one) for person, one in zip(people, measures, strict=True)]
    members: dict[str, list[ViewMeasures]] = {"all": [one for _, one in known]}
    for name in sorted({name for groups, _ in known for name in groups}):
        members[name] = [one for groups, one in known if name in groups]
    return {name: {"heads": len(some), **mean_measures(some)} for name, some in members.items() if some}


def shortfall(group: dict[str, float], everyone: dict[str, float], measure: str) -> float:
    """By how many per cent a group is worse than all heads; negative where it is better."""
    if everyone[measure] == 0:
        return 0.0
    ratio = group[measure] / everyone[measure]
    return ((1 - ratio) if measure in LARGER_IS_BETTER else (ratio - 1)) * 100


def balance_table(groups: dict[str, dict[str, float]]) -> str:
    """The groups as Markdown: each measure, and in brackets by how many per cent it is worse than over all heads."""
    rows = [["group", "heads", *(heading for heading, _ in COLUMNS.values())], ["---"] * (2 + len(COLUMNS))]
    for name, group in groups.items():
        cells = [
            f"{group[measure]:{form}} ({shortfall(group, groups['all'], measure):+.0f})" if measure in group else "-"
            for measure, (_, form) in COLUMNS.items()
        ]
        rows.append([name, str(int(group["heads"])), *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
