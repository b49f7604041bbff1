"""Says what was found, as Markdown for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bench.figures import Cell, Spread, ratio
from bench.peer import Peer
from bench.rounds import Results
from bench.targets import Judge, Row
from bench.workloads import LABELS, RATES, Workload


@dataclass(frozen=True)
class About:
    """What the figures depend on."""

    command: str
    date: str
    environment: dict[str, str]
    commit: str
    rounds: int
    seconds: float
    accept_noise: bool


@dataclass(frozen=True)
class Report:
    """Everything that one run has to say."""

    about: About
    peers: list[Peer]
    workloads: list[Workload]
    results: Results
    ours: str

    def markdown(self) -> str:
        parts = [self._head(), self._targets()]
        parts += [self._table(one) for one in self.workloads if one.name in self.results.cells]
        parts += [self._peers(), self._environment()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def json(self) -> dict:
        return {
            "about": asdict(self.about),
            "peers": {
                peer.name: {"version": peer.version(), "checks": peer.checks} for peer in self.peers
            },
            "skipped": self.results.skipped,
            "workloads": {one.name: asdict(one) for one in self.workloads},
            "samples": {
                workload: {
                    peer: {str(number + 1): asdict(sample) for number, sample in cell.samples.items()}
                    for peer, cell in cells.items()
                }
                for workload, cells in self.results.cells.items()
            },
            "medians": {
                workload: {peer: _summary(cell) for peer, cell in cells.items()}
                for workload, cells in self.results.cells.items()
            },
            "targets": [asdict(row) for row in Judge(self.results, self.ours).rows()],
        }

    def _head(self) -> str:
        noisy = sum(cell.noisy() for cells in self.results.cells.values() for cell in cells.values())
        total = sum(len(cell.samples)
                    for cells in self.results.cells.values() for cell in cells.values())
        kept = "kept as they were" if self.about.accept_noise else "taken again up to three times"
        lines = [
            "# Side by side",
            "",
            f"`{self.about.command}`, {self.about.date}. Median of up to {self.about.rounds} rounds of "
            f"{self.about.seconds:g} s, with (lowest to highest); peers in turn within each round. Processor time "
            "is of both proxies together. Ratios are to "
            f"`{self.ours}` in the same round: above 1, the peer needs or takes more.",
            "",
            f"Samples during which others used more than 0.22 of a core were {kept}; "
            f"{noisy} of {total} are noisy still and marked *.",
        ]
        if self.results.skipped:
            lines += ["", *(f"- Skipped `{name}`: {why}"
                            for name, why in self.results.skipped.items())]
        return "\n".join(lines)

    def _targets(self) -> str:
        rows = [row for row in Judge(self.results, self.ours).rows() if row.measured != "not run"]
        if not rows:
            return ""
        lines = ["## Targets", "", "| workload | figure | target | measured | |",
                 "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {row.workload} | {LABELS.get(row.figure, row.figure)} | {row.target} | {row.measured} "
            f"| {_verdict(row)} |"
            for row in rows
        ]
        return "\n".join(lines)

    def _table(self, workload: Workload) -> str:
        cells = self.results.cells[workload.name]
        first, *others = workload.figures
        titles = [f"{LABELS[first]} a {workload.unit}" if first == "cpu_us" else LABELS[first]]
        titles += ["ratio", *(LABELS[name] for name in others)]
        lines = [f"## {workload.title}", "", f"`{workload.name}`", "",
                 f"| peer | {' | '.join(titles)} |", "| --- |" + " --- |" * len(titles)]
        ours = cells.get(self.ours)
        for name in self._order(cells, first):
            lines.append(_table_row(name, cells[name], ours, first, others))
        return "\n".join(lines)

    def _order(self, cells: dict[str, Cell], figure: str) -> list[str]:
        """Best first; what has no such figure (no proxy, failures) at the end."""

        def key(name: str) -> tuple[bool, float, str]:
            spread = None if cells[name].failure() else cells[name].spread(figure)
            downward = -1 if figure in RATES else 1
            return (name == "direct" or spread is None,
                    spread.median * downward if spread else 0, name)

        return sorted(cells, key=key)

    def _peers(self) -> str:
        lines = ["## Peers", "", "| peer | version | what it checks |", "| --- | --- | --- |"]
        lines += [f"| {peer.name} | {peer.version()} | {peer.checks} |" for peer in self.peers]
        lines += ["", "TLS 1.3, certificates of P-256, two workers a proxy, connections to the application kept; "
                  "no session is resumed unless the name says so. Sidegate writes an audit line for each request and "
                  "counts metrics; access logs of the others are off."]
        return "\n".join(lines)

    def _environment(self) -> str:
        lines = ["## Environment", ""]
        lines += [f"- {name}: {value}" for name, value in self.about.environment.items()]
        lines.append(f"- this tree: {self.about.commit}")
        return "\n".join(lines)


def _summary(cell: Cell) -> dict | None:
    """Of every figure: median, lowest, highest. Nothing of a cell that failed."""
    if cell.failure():
        return None
    figures = {name for sample in cell.samples.values() for name in sample.figures}
    return {name: asdict(spread) for name in sorted(figures) if (spread := cell.spread(name))}


def _table_row(name: str, cell: Cell, ours: Cell | None, first: str, others: list[str]) -> str:
    mark = "*" * bool(cell.noisy())
    if failure := cell.failure():
        return f"| {name} | failed: {failure} |" + " |" * (1 + len(others))
    spread = ratio(cell, ours, first) if ours else None
    columns = [_with_spread(cell.spread(first)), f"{spread.median:.2f}" if spread else ""]
    columns += [_number(cell.spread(figure)) for figure in others]
    return f"| {name}{mark} | {' | '.join(columns)} |"


def _verdict(row: Row) -> str:
    return {True: "met", False: "**missed**", None: "?"}[row.met]


def _with_spread(spread: Spread | None) -> str:
    if not spread:
        return "–"
    digits = _digits(spread.median)
    return f"{spread.median:,.{digits}f} ({spread.low:,.{digits}f} to {spread.high:,.{digits}f})"


def _number(spread: Spread | None) -> str:
    return f"{spread.median:,.{_digits(spread.median)}f}" if spread else "–"


def _digits(value: float) -> int:
    return 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
