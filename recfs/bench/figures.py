"""What is measured, what it should be, and the table of what came out."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from recfs.bench.places import PLACE_NAMES, Place, PlaceName

#: Cases of one group share their places, and so one recfs volume.
Group = Literal["files", "postgres"]


@dataclass(frozen=True, slots=True)
class Target:
    """What recfs should reach; each bound is optional and all given ones must hold.

    For a case where less is better the bounds are upper ones.
    """

    absolute: float | None = None
    of_native: float | None = None
    of_bindfs: float | None = None

    def bounds(self, medians: Mapping[PlaceName, float]) -> list[float]:
        """The bounds as figures; those that need a place that was not measured are left out."""
        found = [] if self.absolute is None else [self.absolute]
        for ratio, name in ((self.of_native, "native"), (self.of_bindfs, "bindfs")):
            base = medians.get(name)  # type: ignore[call-overload]
            if ratio is not None and base is not None:
                found.append(ratio * base)
        return found


class Case(ABC):
    """One figure, taken on one place at a time."""

    name: str
    what: str  # for a person
    unit: str
    group: Group
    target: Target = Target()
    less_is_better = False
    places: Sequence[PlaceName] = PLACE_NAMES

    @abstractmethod
    def measure(self, place: Place) -> float:
        """Take the figure once, in `unit`. Leaves nothing running."""


@dataclass(slots=True)
class Figures:
    """The samples of one case: place -> one figure for each round."""

    case: Case
    samples: dict[PlaceName, list[float]] = field(default_factory=dict)

    def add(self, place: PlaceName, figure: float) -> None:
        self.samples.setdefault(place, []).append(figure)

    def medians(self) -> dict[PlaceName, float]:
        return {place: statistics.median(found) for place, found in self.samples.items()}

    def ratio(self, to: PlaceName) -> float | None:
        """recfs's figure divided by that of another place."""
        medians = self.medians()
        if "recfs" not in medians or not medians.get(to):
            return None
        return medians["recfs"] / medians[to]

    def reached(self) -> bool | None:
        """Whether recfs is where it should be; None where there is nothing to compare."""
        medians = self.medians()
        bounds = self.case.target.bounds(medians)
        if "recfs" not in medians or not bounds:
            return None
        if self.case.less_is_better:
            return medians["recfs"] <= min(bounds)
        return medians["recfs"] >= max(bounds)

    def to_json(self) -> dict[str, Any]:
        target = self.case.target
        return {
            "case": self.case.name,
            "what": self.case.what,
            "unit": self.case.unit,
            "less_is_better": self.case.less_is_better,
            "samples": self.samples,
            "medians": self.medians(),
            "ratio_to_native": self.ratio("native"),
            "ratio_to_bindfs": self.ratio("bindfs"),
            "target": {
                "absolute": target.absolute,
                "of_native": target.of_native,
                "of_bindfs": target.of_bindfs,
            },
            "reached": self.reached(),
        }


def table(all_figures: Sequence[Figures]) -> str:
    """Medians as a table; its lines are Markdown, so that they can go into a README."""
    head = ["", "unit", "native", "bindfs", "recfs", "÷ native", "÷ bindfs", "target", "reached"]
    lines = [head]
    for figures in all_figures:
        medians = figures.medians()
        reached = figures.reached()
        lines.append(
            [
                figures.case.what,
                figures.case.unit,
                *(_figure(medians.get(place)) for place in PLACE_NAMES),
                _ratio(figures.ratio("native")),
                _ratio(figures.ratio("bindfs")),
                _target(figures.case),
                "" if reached is None else "yes" if reached else "**no**",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        rows.append("| " + " | ".join([line[0].ljust(widths[0]), *cells[1:]]) + " |")
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([rows[0], f"|{rule}|", *rows[1:]])


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _target(case: Case) -> str:
    sign = "≤" if case.less_is_better else "≥"
    named = (
        (case.target.absolute, ""),
        (case.target.of_native, " native"),
        (case.target.of_bindfs, " bindfs"),
    )
    return ", ".join(
        f"{sign} {value:,.0f}" if not name else f"{sign} {value:g}{name}"
        for value, name in named
        if value is not None
    )
