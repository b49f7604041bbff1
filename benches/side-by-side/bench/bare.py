"""The libraries by themselves: what hyper, rustls and an event loop cost without a product."""

from __future__ import annotations

from bench.peer import HTTP1, HTTP2, TCP, WORKERS, Launch, Peer, Place, Plan


class Bare(Peer):
    """The pair of `tools/`: chain and URI SAN, and nothing else."""

    checks = "chain and URI SAN both ways; no policy, logs, metrics, timeouts, rotation, drain"

    def __init__(self, mode: str, tool: str) -> None:
        self.name, self.modes, self.tool = f"bare-{mode}", (mode,), tool

    def version(self) -> str:
        return "as in tools/Cargo.lock"

    def plan(self, place: Place) -> Plan:
        (mode,) = self.modes
        inner, outer = place.ports.take(), place.ports.take()
        return Plan(
            server=self._launch(place, "server", inner, place.origin(mode)),
            client=self._launch(place, "client", outer, f"127.0.0.1:{inner}"),
            entries={mode: outer},
        )

    def _launch(self, place: Place, side: str, listen: int, connect: str) -> Launch:
        argv = [
            self.tool, "bare", self.modes[0], "--side", side,
            "--listen", f"127.0.0.1:{listen}", "--connect", connect,
            "--certs", str(place.certs), "--threads", str(WORKERS),
        ]
        return Launch(argv, [listen])


def peers(tool: str) -> list[Peer]:
    return [Bare(mode, tool) for mode in (HTTP1, HTTP2, TCP)]
