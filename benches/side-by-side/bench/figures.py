"""Medians and spreads of rounds, and ratios within rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from bench.measure import Sample


@dataclass(frozen=True)
class Spread:
    """A median and what it lies between."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Spread | None:
        if not values:
            return None
        return Spread(statistics.median(values), min(values), max(values))


@dataclass
class Cell:
    """All samples of one peer in one workload, by round."""

    samples: dict[int, Sample] = field(default_factory=dict)

    def values(self, figure: str) -> dict[int, float]:
        return {
            number: sample.figures[figure]
            for number, sample in self.samples.items()
            if not sample.failed and figure in sample.figures
        }

    def spread(self, figure: str) -> Spread | None:
        return Spread.of(list(self.values(figure).values()))

    def noisy(self) -> int:
        return sum(sample.noisy for sample in self.samples.values())

    def failure(self) -> str | None:
        """What went wrong in any round: one failed round makes a failed cell."""
        return next((one.failed for one in self.samples.values() if one.failed), None)


def ratio(ours: Cell, theirs: Cell, figure: str) -> Spread | None:
    """Ours by theirs, round by round: what changes between rounds falls out."""
    if ours.failure() or theirs.failure():
        return None
    left, right = ours.values(figure), theirs.values(figure)
    if min([*left.values(), *right.values()], default=0) <= 0:
        # No proxy costs nothing; and a latency added of less than nothing is lost in noise.
        return None
    return Spread.of([left[number] / right[number] for number in left if number in right])


def best(cells: dict[str, Cell], figure: str, larger: bool = False) -> str | None:
    """Whose median is best."""
    medians = {
        name: spread.median
        for name, cell in cells.items()
        if not cell.failure() and (spread := cell.spread(figure)) and spread.low > 0
    }
    if not medians:
        return None
    pick = max if larger else min
    return pick(medians, key=lambda name: medians[name])


def subtract_direct(cells: dict[str, Cell]) -> None:
    """Latency added: what no proxy takes in the same round is taken off."""
    direct = cells.get("direct")
    for name, cell in cells.items():
        for number, sample in cell.samples.items():
            base = direct.samples.get(number) if direct else None
            if name == "direct" or sample.failed or not base or base.failed:
                continue
            for figure in ("p50_us", "p99_us", "p999_us"):
                if figure in sample.figures and figure in base.figures:
                    added = sample.figures[figure] - base.figures[figure]
                    sample.figures[f"added_{figure}"] = added
