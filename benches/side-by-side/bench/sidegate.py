"""Sidegate: SVIDs from the development agent, policy, audit to a file and metrics on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench.peer import (
    CLIENT_ID, HTTP1, HTTP2, SERVER_ID, TCP, WORKERS, Launch, Peer, Place, Plan,
)
from bench.processes import Failed, Process, Stage, wait_for_file

BIG = 10_000
POLICY = """package sidegate.global

import rego.v1

grant := data.identities[input.peer.spiffe_id]
"""
CONNECTIONS = 20_000


def start_agent(stage: Stage, binary: str, folder: Path) -> tuple[Process, dict[str, Path]]:
    """One agent for all versions of Sidegate: identities are standard."""
    sockets = {CLIENT_ID: folder / "shop.sock", SERVER_ID: folder / "orders.sock"}
    argv = [binary, "dev-agent"]
    for identity, socket in sockets.items():
        argv += ["--workload", f"{identity}={socket}"]
    agent = stage.start("dev-agent", argv, folder / "agent.log")
    for socket in sockets.values():
        wait_for_file(agent, socket)
    return agent, sockets


class Sidegate(Peer):
    """A pair as an operator would run it: all three listeners on each side."""

    modes = (HTTP1, HTTP2, TCP)
    policies = True
    checks = "SPIFFE ID both ways; Rego grant; scopes per route; XFCC; audit and metrics on"

    def __init__(
        self, name: str, binary: str, big: bool = False, only: tuple[str, ...] = ()
    ) -> None:
        self.name, self.binary, self.big, self.only = name, binary, big, only
        if big:
            self.checks += f"; {BIG:,} identities in the policy and {BIG:,} routes"

    def missing(self) -> str | None:
        return None if Path(self.binary).is_file() else f"there is no {self.binary}"

    def version(self) -> str:
        return _first_line([self.binary, "--version"])

    def plan(self, place: Place) -> Plan:
        inbound = {mode: place.ports.take() for mode in self.modes}
        outbound = {mode: place.ports.take() for mode in self.modes}
        policy = self._policy(place)
        server_ready, client_ready = place.ports.take(), place.ports.take()
        audits = (place.folder / "server.audit", place.folder / "client.audit")
        server = {
            **self._common(place, SERVER_ID, policy, server_ready, audits[0]),
            "inbound": [self._inbound(place, mode, port) for mode, port in inbound.items()],
        }
        client = {
            **self._common(place, CLIENT_ID, policy, client_ready, audits[1]),
            "outbound": [
                {
                    "name": mode,
                    "listen": f"127.0.0.1:{port}",
                    "protocol": "tcp" if mode == TCP else "http",
                    "connect_to": f"127.0.0.1:{inbound[mode]}",
                    "expect": SERVER_ID,
                    "limits": {"connections": CONNECTIONS},
                }
                for mode, port in outbound.items()
            ],
        }
        return Plan(
            server=self._launch(place, "server", server, list(inbound.values()), server_ready),
            client=self._launch(place, "client", client, list(outbound.values()), client_ready),
            entries=outbound,
            grows=audits,
        )

    def _launch(
        self, place: Place, side: str, config: dict, ports: list[int], ready: int
    ) -> Launch:
        # JSON is YAML.
        path = place.write(f"{side}.yaml", json.dumps(config, separators=(",", ":")))
        return Launch([self.binary, "run", "--config", path], ports, ready)

    def _common(self, place: Place, identity: str, policy: str, ready: int, audit: Path) -> dict:
        return {
            "tenant": "acme",
            "identity": {
                "workload_api": f"unix://{place.agent[identity]}",
                "danger_accept_dev_agent": True,
            },
            "policy": policy,
            "health": {"listen": f"127.0.0.1:{ready}"},
            "metrics": {"listen": f"127.0.0.1:{place.ports.take()}"},
            "audit": {"to": str(audit)},
            "workers": WORKERS,
        }

    def _inbound(self, place: Place, mode: str, port: int) -> dict:
        listener = {
            "name": mode,
            "listen": f"127.0.0.1:{port}",
            "forward_to": place.origin(mode),
            "limits": {"connections": CONNECTIONS},
        }
        if mode == TCP:
            return {**listener, "protocol": "tcp", "scopes": ["orders:read"]}
        return {**listener, "routes": self._routes(self.big and mode == HTTP1)}

    @staticmethod
    def _routes(many: bool) -> list[dict]:
        scopes = {"scopes": ["orders:read"]}
        routes: list[dict] = [
            {"path": "/x", "methods": ["GET", "POST"], **scopes},
            {"path": "/bytes/{count}", "methods": ["GET"], **scopes},
            {"path": "/sink", "methods": ["POST"], **scopes},
            {"grpc": "bench.Echo/Unary", **scopes},
            {"grpc": "bench.Echo/Stream", **scopes},
        ]
        if many:
            routes += [
                {"path": f"/api/things-{number}/{{id}}/parts/{{part}}", "methods": ["GET"], **scopes}
                for number in range(BIG - len(routes))
            ]
        return routes

    def _policy(self, place: Place) -> str:
        grant = {"tenant": "acme", "scopes": ["orders:read"], "roles": []}
        others = range(BIG - 2) if self.big else ()
        identities = {f"spiffe://example.org/prod/service-{number}": grant for number in others}
        identities |= {CLIENT_ID: grant, SERVER_ID: grant}
        place.write("policy/global.rego", POLICY)
        place.write("policy/data.json", json.dumps({"identities": identities}))
        return str(place.folder / "policy")


def _first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        raise Failed(str(error)) from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""
