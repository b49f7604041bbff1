"""The targets that the project set itself, and whether a run met them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.figures import Cell, Spread, best, ratio
from bench.rounds import Results

TCP_PEERS = ("envoy-tcp", "ghostunnel", "haproxy-tcp", "nginx-stream", "stunnel")
RESUMED = ("envoy-tcp-resumed", "haproxy-tcp-resumed", "nginx-stream-resumed")
HTTP_PEERS = ("envoy-http", "haproxy-http", "nginx-http")


@dataclass(frozen=True)
class Row:
    """One line of the table. `met` is nothing where it could not be told."""

    workload: str
    figure: str
    target: str
    measured: str
    met: bool | None


class Judge:
    """Holds the results of one run against the targets, for one version of Sidegate."""

    def __init__(self, results: Results, ours: str) -> None:
        self.results, self.ours = results, ours

    def rows(self) -> list[Row]:
        return [
            *self._http1(), *self._tcp(), *self._multiplexed(), self._connect(), *self._bulk(),
            *self._latency(), *self._fresh(), *self._idle(),
        ]

    def _http1(self) -> list[Row]:
        limits = (("envoy-http", 0.27), ("haproxy-http", 0.80), ("bare-http1", 1.15))
        return [self._against(f"http1-{count}", "cpu_us", peer, limit)
                for count in (16, 64) for peer, limit in limits]

    def _tcp(self) -> list[Row]:
        rows = []
        for count in (16, 64):
            rows.append(self._best(f"tcp-{count}", "cpu_us", TCP_PEERS, 0.80))
            rows.append(self._against(f"tcp-{count}", "cpu_us", "bare-tcp", 1.15))
        return rows

    def _multiplexed(self) -> list[Row]:
        limits = (("envoy-http", 0.25), ("haproxy-http", 1.0), ("bare-http2", 0.90))
        names = ("http2-1x32", "http2-8x32", "grpc-1x32", "grpc-8x32")
        return [self._against(name, "cpu_us", peer, limit)
                for name in names for peer, limit in limits]

    def _connect(self) -> Row:
        return self._best("connect-tcp", "cpu_us", TCP_PEERS + RESUMED, 0.72)

    def _bulk(self) -> list[Row]:
        rows = []
        for kind in ("download", "upload"):
            for mode, peers in (("tcp", TCP_PEERS), ("http1", HTTP_PEERS)):
                for streams in (1, 4):
                    name = f"{kind}-{mode}-{streams}"
                    rows.append(self._best(name, "mb_per_s", peers, 1.25, larger=True))
                    rows.append(self._best(name, "cpu_s_per_gb", peers, 0.80))
        return rows

    def _latency(self) -> list[Row]:
        rows = []
        for figure in ("added_p50_us", "added_p99_us"):
            rows.append(self._best("latency-tcp", figure, TCP_PEERS, 1.0))
            rows.append(self._best("latency-http1", figure, HTTP_PEERS, 1.0))
            rows.append(self._against("latency-http1", figure, "envoy-http", 0.5))
        return rows

    def _fresh(self) -> list[Row]:
        return [self._absolute("start", "larger_resident_mib", 18, "MiB"),
                self._absolute("start", "slower_ms", 50, "ms")]

    def _idle(self) -> list[Row]:
        rows = []
        for mode, limit in (("tcp", 10), ("http1", 14)):
            rows.append(self._absolute(f"idle-{mode}-5000", "larger_kib", limit, "KiB"))
            rows.append(self._held(f"idle-{mode}-10000", 9_000))
        return rows

    def _cells(self, workload: str) -> dict[str, Cell]:
        return self.results.cells.get(workload, {})

    def _against(self, workload: str, figure: str, peer: str, limit: float) -> Row:
        return self._row(workload, figure, peer, f"≤ {limit:.2f} × {peer}", limit, larger=False)

    def _best(
        self, workload: str, figure: str, peers: tuple[str, ...], limit: float, larger: bool = False
    ) -> Row:
        cells = self._cells(workload)
        peer = best({name: cells[name] for name in peers if name in cells}, figure, larger)
        sign = "≥" if larger else "≤"
        return self._row(workload, figure, peer, f"{sign} {limit:.2f} × the best peer", limit, larger)

    def _row(
        self, workload: str, figure: str, peer: str | None, target: str, limit: float, larger: bool
    ) -> Row:
        cells = self._cells(workload)
        ours, theirs = cells.get(self.ours), cells.get(peer or "")
        if not ours:
            return Row(workload, figure, target, "not run", None)
        if ours.failure():
            return Row(workload, figure, target, f"failed: {ours.failure()}", False)
        if not theirs or not (measured := ratio(ours, theirs, figure)):
            return Row(workload, figure, target, "no peer to compare with, or lost in noise", None)
        met = measured.median >= limit if larger else measured.median <= limit
        return Row(workload, figure, target, f"{_spread(measured)} × {peer}", met)

    def _absolute(self, workload: str, figure: str, limit: float, unit: str) -> Row:
        ours = self._cells(workload).get(self.ours)
        target = f"≤ {limit} {unit}"
        if not ours:
            return Row(workload, figure, target, "not run", None)
        if ours.failure() or not (measured := ours.spread(figure)):
            return Row(workload, figure, target, f"failed: {ours.failure()}", False)
        return Row(workload, figure, target, f"{_spread(measured)} {unit}", measured.median <= limit)

    def _held(self, workload: str, least: int) -> Row:
        ours = self._cells(workload).get(self.ours)
        target = f"{least:,} held"
        if not ours:
            return Row(workload, "alive", target, "not run", None)
        # Connections that were lost make a failed cell, and still say how many were held.
        alive = [sample.figures["alive"] for sample in ours.samples.values()
                 if "alive" in sample.figures]
        if not alive:
            return Row(workload, "alive", target, f"failed: {ours.failure()}", False)
        return Row(workload, "alive", target, f"{min(alive):,.0f}", min(alive) >= least)


def _spread(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"{spread.median:.2f}"
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
