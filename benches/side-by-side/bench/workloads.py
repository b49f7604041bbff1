"""What is measured, and with which figure first."""

from __future__ import annotations

from dataclasses import dataclass

from bench.peer import HTTP1, HTTP2, TCP
from bench.processes import proxied_connections

# How a sample is taken (`measure.py`).
LOAD, IDLE, START = "load", "idle", "start"

LABELS = {
    "cpu_us": "CPU µs",
    "cpu_s_per_gb": "CPU s/GB",
    "per_second": "per second",
    "mb_per_s": "MB/s",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "p999_us": "p99.9 µs",
    "added_p50_us": "added p50 µs",
    "added_p99_us": "added p99 µs",
    "added_p999_us": "added p99.9 µs",
    "client_kib": "KiB a connection, client side",
    "server_kib": "KiB a connection, server side",
    "larger_kib": "KiB a connection, larger side",
    "alive": "alive afterwards",
    "client_ms": "client side ms",
    "server_ms": "server side ms",
    "slower_ms": "slower side ms",
    "client_resident_mib": "client side resident MiB",
    "server_resident_mib": "server side resident MiB",
    "larger_resident_mib": "larger side resident MiB",
    "larger_pss_mib": "larger side PSS MiB",
}
CLOSED = ("cpu_us", "per_second", "p50_us", "p99_us")
BULK = ("cpu_s_per_gb", "mb_per_s")
ADDED = ("added_p50_us", "added_p99_us", "added_p999_us", "cpu_us")
MEMORY = ("larger_kib", "client_kib", "server_kib", "alive")
FRESH = ("slower_ms", "larger_resident_mib", "larger_pss_mib", "client_ms", "server_ms")
RATES = ("per_second", "mb_per_s")


@dataclass(frozen=True)
class Workload:
    """One row of work, the same for every peer that can carry it."""

    name: str
    title: str
    mode: str
    figures: tuple[str, ...]
    kind: str
    unit: str = "request"
    how: str = LOAD
    connections: int = 1
    streams: int = 1
    bytes: int | None = None
    rate: int | None = None
    # Memory hardly differs between rounds, and opening connections takes long.
    rounds: int | None = None
    # For pairs of Sidegate that differ in their policy.
    policies: bool = False


def _many(prefix: str, title: str, mode: str, kind: str, counts: tuple[int, ...]) -> list[Workload]:
    return [
        Workload(f"{prefix}-{count}", f"{title}, {count} connection{'s' * (count > 1)}", mode,
                 CLOSED, kind, connections=count)
        for count in counts
    ]


def _multiplexed() -> list[Workload]:
    shapes = ((1, 32), (8, 32))
    kinds = (
        ("http2", "http2", "HTTP/2, 1 KiB", "request"),
        ("grpc", "grpc", "gRPC unary", "request"),
        ("grpc-stream", "grpc-stream", "gRPC bidirectional streams, ping-pong", "message"),
    )
    return [
        Workload(f"{name}-{connections}x{streams}",
                 f"{title}, {connections} × {streams} streams", HTTP2, CLOSED, kind, unit,
                 connections=connections, streams=streams)
        for name, kind, title, unit in kinds
        for connections, streams in shapes
        if (name, connections) != ("grpc-stream", 1)
    ]


def _connect() -> list[Workload]:
    title = "A new connection for each request"
    return [
        Workload("connect-tcp", f"{title}, TCP: an mTLS handshake each", TCP, CLOSED, "connect",
                 "connection", connections=16),
        Workload("connect-http", f"{title}, HTTP/1.1: mTLS connections may be pooled", HTTP1,
                 CLOSED, "connect", "connection", connections=16),
    ]


def _bulk() -> list[Workload]:
    return [
        Workload(f"{kind}-{mode}-{streams}",
                 f"{kind.capitalize()}, {title}, {streams} stream{'s' * (streams > 1)}", mode,
                 BULK, kind, "GB", connections=streams, bytes=100_000_000)
        for kind in ("download", "upload")
        for mode, title in ((TCP, "TCP"), (HTTP1, "HTTP/1.1"))
        for streams in (1, 4)
    ]


def _latency() -> list[Workload]:
    return [
        Workload(f"latency-{mode}", f"Latency added at 1,000 requests/s, {title}, 4 connections",
                 mode, ADDED, "rate", connections=4, rate=1_000)
        for mode, title in ((HTTP1, "HTTP/1.1"), (TCP, "TCP"))
    ]


def _idle() -> list[Workload]:
    # Where the limit of open files is low, fewer than 10,000 can be asked for.
    most = proxied_connections()
    return [
        Workload(f"idle-{mode}-{count}", f"{min(count, most):,} idle connections, {title}", mode,
                 MEMORY, "idle", "connection", IDLE, connections=min(count, most), rounds=1)
        for mode, title in ((TCP, "TCP"), (HTTP1, "HTTP/1.1"))
        for count in (1_000, 5_000, 10_000)
    ]


def all_workloads() -> list[Workload]:
    policies = Workload("policy", "10,000 identities and 10,000 routes against a few: HTTP/1.1, "
                        "16 connections", HTTP1, CLOSED, "http1", connections=16, policies=True)
    return [
        *_many("http1", "HTTP/1.1, 1 KiB, keep-alive", HTTP1, "http1", (1, 16, 64)),
        *_multiplexed(),
        *_many("tcp", "HTTP/1.1 as bytes of TCP, 1 KiB, keep-alive", TCP, "http1", (1, 16, 64)),
        *_connect(),
        *_bulk(),
        *_latency(),
        policies,
        Workload("start", "Start to ready, and memory when fresh", "", FRESH, "", "start", START),
        *_idle(),
    ]


def chosen(names: list[str]) -> list[Workload]:
    """By whole names or by what they begin with: `http1`, `idle-tcp-1000`, `latency`."""
    known = all_workloads()
    if not names:
        return known
    for name in names:
        if not any(_fits(workload, name) for workload in known):
            raise ValueError(f"no workload `{name}`: there are "
                             + ", ".join(workload.name for workload in known))
    return [one for one in known if any(_fits(one, name) for name in names)]


def _fits(workload: Workload, name: str) -> bool:
    return workload.name == name or workload.name.startswith(f"{name}-")
