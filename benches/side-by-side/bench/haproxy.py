"""HAProxy: as HTTP proxy and as TCP proxy. It knows chains and DNS names, not SPIFFE IDs."""

from __future__ import annotations

import subprocess

from bench import install
from bench.peer import HTTP1, HTTP2, SERVER_NAME, TCP, WORKERS, Launch, Peer, Place, Plan
from bench.processes import proxied_connections

HEAD = """global
    nbthread {workers}
    maxconn {connections}
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    http-reuse always
"""


def _head() -> str:
    # It does not start if it could run out of open files.
    return HEAD.format(workers=WORKERS, connections=proxied_connections() + 50)


class Haproxy(Peer):
    """Both kinds. Sessions are resumed only where the name says so, which is its default."""

    def __init__(
        self, name: str, modes: tuple[str, ...], resume: bool = False, only: tuple[str, ...] = ()
    ) -> None:
        self.name, self.modes, self.resume, self.only = name, modes, resume, only
        self.binary = install.find("haproxy")
        self.checks = "chain both ways, DNS name of the server"
        if TCP not in modes:
            self.checks += "; subject of the client as a header"
        if resume:
            self.checks += "; resumes sessions, as by default"

    def missing(self) -> str | None:
        return None if self.binary else "there is no haproxy"

    def version(self) -> str:
        done = subprocess.run(
            [self.binary, "-v"], capture_output=True, text=True, check=False,
            env=install.libraries() or None,
        )
        return " ".join(done.stdout.split()[:3])

    def plan(self, place: Place) -> Plan:
        inner = {mode: place.ports.take() for mode in self.modes}
        outer = {mode: place.ports.take() for mode in self.modes}
        server = _head() + "".join(self._server(place, mode, inner[mode]) for mode in inner)
        client = _head() + "".join(
            self._client(place, mode, outer[mode], inner[mode]) for mode in outer
        )
        return Plan(
            server=self._launch(place, "server", server, list(inner.values())),
            client=self._launch(place, "client", client, list(outer.values())),
            entries=outer,
        )

    def _launch(self, place: Place, side: str, config: str, ports: list[int]) -> Launch:
        path = place.write(f"{side}.cfg", config)
        return Launch([str(self.binary), "-db", "-q", "-f", path], ports, env=install.libraries())

    def _client(self, place: Place, mode: str, listen: int, connect: int) -> str:
        speaks = {HTTP1: "", HTTP2: " alpn h2", TCP: ""}[mode]
        reuse = "" if self.resume else " no-ssl-reuse"
        return f"""listen {mode}
    mode {"tcp" if mode == TCP else "http"}
    bind 127.0.0.1:{listen}{" proto h2" if mode == HTTP2 else ""}
    server up 127.0.0.1:{connect} ssl crt {place.cert("client.both.pem")} \
ca-file {place.cert("ca.pem")} verify required verifyhost {SERVER_NAME}{reuse}{speaks}
"""

    def _server(self, place: Place, mode: str, listen: int) -> str:
        speaks = {HTTP1: " alpn http/1.1", HTTP2: " alpn h2", TCP: ""}[mode]
        tickets = "" if self.resume else " no-tls-tickets"
        header = "    http-request set-header x-client-subject %[ssl_c_s_dn]\n"
        return f"""listen {mode}
    mode {"tcp" if mode == TCP else "http"}
    bind 127.0.0.1:{listen} ssl crt {place.cert("server.both.pem")} \
ca-file {place.cert("ca.pem")} verify required{tickets}{speaks}
{"" if mode == TCP else header}\
    server up {place.origin(mode)}{" proto h2" if mode == HTTP2 else ""}
"""


def peers() -> list[Peer]:
    return [
        Haproxy("haproxy-http", (HTTP1, HTTP2)),
        Haproxy("haproxy-tcp", (TCP,)),
        Haproxy("haproxy-tcp-resumed", (TCP,), resume=True, only=("connect-tcp",)),
    ]
