"""Runs everything, interleaved: each round asks every peer, and each round begins with another."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from bench.figures import Cell
from bench.measure import NOISE, Bench, Sample, carries, take, take_fresh
from bench.peer import Pair, Peer, Place
from bench.processes import Failed
from bench.workloads import LOAD, Workload

RETRIES = 3


@dataclass
class Results:
    """Cells by workload and peer, and who did not take part."""

    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def cell(self, workload: str, peer: str) -> Cell:
        return self.cells.setdefault(workload, {}).setdefault(peer, Cell())


@dataclass
class Run:
    """Peers and workloads of one run, and what it found so far."""

    bench: Bench
    place: Place
    peers: list[Peer]
    workloads: list[Workload]
    rounds: int
    accept_noise: bool
    results: Results = field(default_factory=Results)

    def all(self) -> None:
        """First what pairs that stand can carry, then what each is started anew for: processes of
        the same program that stand beside would share its memory."""
        pairs = self._start()
        self._rounds([one for one in self.workloads if one.how == LOAD], pairs)
        for pair in pairs.values():
            self.bench.stage.stop(*pair.sides().values())
        self._rounds([one for one in self.workloads if one.how != LOAD], {})

    def _rounds(self, workloads: list[Workload], pairs: dict[str, Pair]) -> None:
        for number in range(self.rounds):
            for workload in workloads:
                if number < min(self.rounds, workload.rounds or self.rounds):
                    self._round(number, workload, pairs)

    def takers(self, workload: Workload) -> list[Peer]:
        return [peer for peer in self.peers if _takes(peer, workload)]

    def _start(self) -> dict[str, Pair]:
        """All pairs stand throughout: one that has nothing to carry costs nothing."""
        pairs = {}
        loads = [workload for workload in self.workloads if workload.how == LOAD]
        for peer in list(self.peers):
            why = peer.missing()
            if not why and any(_takes(peer, workload) for workload in loads):
                why = self._start_one(peer, pairs)
            if why:
                print(f"skipped {peer.name}: {why}", flush=True)
                self.results.skipped[peer.name] = why
                self.peers.remove(peer)
        return pairs

    def _start_one(self, peer: Peer, pairs: dict[str, Pair]) -> str | None:
        running = list(self.bench.stage.processes)
        try:
            pair = peer.start(self.bench.stage, self._place(peer.name))
            if not (why := carries(self.bench, pair)):
                pairs[peer.name] = pair
                return None
        except Failed as failed:
            why = str(failed)
        self.bench.stage.stop(
            *(one for one in self.bench.stage.processes if one not in running)
        )
        return why

    def _place(self, name: str) -> Place:
        return replace(self.place, folder=self.place.folder / name.replace("/", "-"))

    def _round(self, number: int, workload: Workload, pairs: dict[str, Pair]) -> None:
        takers = self.takers(workload)
        if not takers:
            return
        turn = number % len(takers)
        for peer in takers[turn:] + takers[:turn]:
            sample = self._quiet_sample(workload, peer, pairs)
            self.results.cell(workload.name, peer.name).samples[number] = sample
            print(_line(number, workload, peer, sample), flush=True)

    def _quiet_sample(self, workload: Workload, peer: Peer, pairs: dict[str, Pair]) -> Sample:
        """The least disturbed of a few tries."""
        best: Sample | None = None
        for _ in range(RETRIES + 1):
            sample = self._sample(workload, peer, pairs)
            sample.noisy = sample.foreign_cores > NOISE
            if not best or sample.foreign_cores < best.foreign_cores:
                best = sample
            if sample.failed or not sample.noisy or self.accept_noise:
                return sample
            time.sleep(1)
        assert best
        return best

    def _sample(self, workload: Workload, peer: Peer, pairs: dict[str, Pair]) -> Sample:
        if workload.how == LOAD:
            return take(self.bench, workload, pairs[peer.name])
        folder = f"{peer.name}-{workload.name}"
        return take_fresh(self.bench, workload, peer, self._place(folder))


def _takes(peer: Peer, workload: Workload) -> bool:
    if peer.only:
        return workload.name in peer.only
    if workload.policies:
        return peer.policies
    if workload.how == LOAD:
        return workload.mode in peer.modes
    return peer.name != "direct" and (not workload.mode or workload.mode in peer.modes)


def _line(number: int, workload: Workload, peer: Peer, sample: Sample) -> str:
    said = f"round {number + 1}  {workload.name:<16} {peer.name:<22}"
    if sample.failed:
        return f"{said} FAILED: {sample.failed}"
    names = [name.removeprefix("added_") for name in workload.figures]
    shown = [name for name in names if name in sample.figures]
    figures = "  ".join(f"{name} {sample.figures[name]:.1f}" for name in shown)
    noise = f"  (noisy: {sample.foreign_cores:.2f} cores by others)" if sample.noisy else ""
    return f"{said} {figures}{noise}"

