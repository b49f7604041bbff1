"""What every peer has to say of itself, and how a pair of it is started."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Ports, Process, Stage, wait_for_port, wait_for_ready

TRUST_DOMAIN = "example.org"
CLIENT_ID = f"spiffe://{TRUST_DOMAIN}/dev/shop"
SERVER_ID = f"spiffe://{TRUST_DOMAIN}/dev/orders"
SERVER_NAME = "orders.internal"
WORKERS = 2

# What a peer can carry: requests of HTTP/1.1, of HTTP/2 (gRPC as well), or bytes.
HTTP1, HTTP2, TCP = "http1", "http2", "tcp"


@dataclass(frozen=True)
class Place:
    """Where a pair runs, and what is there already: certificates, the agent, the application."""

    folder: Path
    certs: Path
    agent: dict[str, Path]
    origin_http: str
    origin_h2: str
    ports: Ports

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def origin(self, mode: str) -> str:
        return self.origin_h2 if mode == HTTP2 else self.origin_http

    def cert(self, name: str) -> str:
        return str(self.certs / name)


@dataclass(frozen=True)
class Launch:
    """One side: its command line, and how one sees that it is ready."""

    argv: list[str]
    ports: list[int]
    ready: int | None = None
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Both sides, and where the application enters the client's for each mode."""

    server: Launch
    client: Launch
    entries: dict[str, int]
    grows: tuple[Path, ...] = ()


@dataclass
class Pair:
    """Both sides, running. `direct` has neither."""

    name: str
    client: Process | None
    server: Process | None
    entries: dict[str, int]
    started_ms: dict[str, float] = field(default_factory=dict)
    grows: tuple[Path, ...] = ()

    def sides(self) -> dict[str, Process]:
        sides = {"client": self.client, "server": self.server}
        return {name: side for name, side in sides.items() if side}

    def members(self) -> list[int]:
        """All processes of both sides. Looking for them takes long, so not while measuring."""
        return [pid for side in self.sides().values() for pid in side.members()]

    def forget_logs(self) -> None:
        """Logs that were written are not read: they must not fill the disk."""
        for path in self.grows:
            if path.exists():
                with open(path, "r+b") as log:
                    log.truncate(0)


class Peer:
    """One way to carry the traffic. Subclasses say which program, how, and what it checks."""

    name = ""
    modes: tuple[str, ...] = ()
    checks = ""
    # The only workloads it is for, if not for all that its modes allow.
    only: tuple[str, ...] = ()
    # Whether it takes part where policies are compared.
    policies = False

    def missing(self) -> str | None:
        """Why it cannot run here, if so."""
        return None

    def version(self) -> str:
        return ""

    def plan(self, place: Place) -> Plan:
        raise NotImplementedError

    def start(self, stage: Stage, place: Place) -> Pair:
        """Starts the server's side, then the client's, each timed until it is ready."""
        place.folder.mkdir(parents=True, exist_ok=True)
        plan = self.plan(place)
        started_ms = {}
        sides = {}
        for side, launch in (("server", plan.server), ("client", plan.client)):
            log = place.folder / f"{side}.log"
            sides[side] = process = stage.start(
                f"{self.name} {side}", launch.argv, log, launch.env
            )
            for port in launch.ports:
                wait_for_port(process, port)
            if launch.ready:
                wait_for_ready(process, launch.ready, "/ready")
            started_ms[side] = (time.perf_counter() - process.started) * 1000
        return Pair(
            self.name, sides["client"], sides["server"], plan.entries, started_ms, plan.grows
        )


class Direct(Peer):
    """No proxy at all: what the load and the application cost by themselves."""

    name = "direct"
    modes = (HTTP1, HTTP2, TCP)
    checks = "no proxy, no TLS"

    def start(self, stage: Stage, place: Place) -> Pair:
        entries = {mode: int(place.origin(mode).rsplit(":", 1)[1]) for mode in self.modes}
        return Pair(self.name, None, None, entries)
