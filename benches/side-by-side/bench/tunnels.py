"""stunnel and ghostunnel: TLS around TCP and nothing else."""

from __future__ import annotations

import subprocess

from bench import install
from bench.peer import (
    CLIENT_ID, SERVER_ID, SERVER_NAME, TCP, WORKERS, Launch, Peer, Place, Plan,
)


class Stunnel(Peer):
    """A thread for each connection: it has no number of workers to set."""

    name = "stunnel"
    modes = (TCP,)
    checks = "chain both ways, DNS name of the server"

    def __init__(self) -> None:
        self.binary = install.find("stunnel")

    def missing(self) -> str | None:
        return None if self.binary else "there is no stunnel"

    def version(self) -> str:
        done = subprocess.run(
            [self.binary, "-version"], capture_output=True, text=True, check=False,
            env=install.libraries() or None,
        )
        lines = (done.stderr + done.stdout).splitlines()
        found = [line for line in lines if line.startswith("stunnel ")]
        return " ".join(found[0].split()[:2]) if found else "stunnel"

    def plan(self, place: Place) -> Plan:
        inner, outer = place.ports.take(), place.ports.take()
        origin = place.origin(TCP)
        server = self._config(place, "server", inner, origin, "requireCert = yes")
        client = self._config(
            place, "client", outer, f"127.0.0.1:{inner}",
            f"client = yes\ncheckHost = {SERVER_NAME}",
        )
        return Plan(
            server=self._launch(place, "server", server, inner),
            client=self._launch(place, "client", client, outer),
            entries={TCP: outer},
        )

    def _launch(self, place: Place, side: str, config: str, port: int) -> Launch:
        path = place.write(f"{side}.conf", config)
        return Launch([str(self.binary), path], [port], env=install.libraries())

    @staticmethod
    def _config(place: Place, side: str, listen: int, connect: str, more: str) -> str:
        return f"""foreground = yes
pid =
debug = 3
[tunnel]
accept = 127.0.0.1:{listen}
connect = {connect}
cert = {place.cert(f"{side}.pem")}
key = {place.cert(f"{side}.key")}
CAfile = {place.cert("ca.pem")}
verifyChain = yes
sslVersionMin = TLSv1.3
sessionResume = no
TIMEOUTidle = 3600
{more}
"""


class Ghostunnel(Peer):
    """Written for SPIFFE: it checks URI SANs by itself."""

    name = "ghostunnel"
    modes = (TCP,)
    checks = "URI SAN both ways; its client also the DNS name of the server"

    def __init__(self) -> None:
        self.binary = install.find("ghostunnel")

    def missing(self) -> str | None:
        return None if self.binary else "there is no ghostunnel"

    def version(self) -> str:
        done = subprocess.run(
            [self.binary, "--version"], capture_output=True, text=True, check=False
        )
        given = (done.stderr + done.stdout).strip()
        wanted = f" ({install.GHOSTUNNEL})" if install.GHOSTUNNEL in str(self.binary) else ""
        return f"ghostunnel{wanted}, {given}"

    def plan(self, place: Place) -> Plan:
        inner, outer = place.ports.take(), place.ports.take()
        return Plan(
            server=self._launch(place, "server", inner, place.origin(TCP), ["--allow-uri", CLIENT_ID]),
            client=self._launch(
                place, "client", outer, f"127.0.0.1:{inner}",
                ["--verify-uri", SERVER_ID, "--override-server-name", SERVER_NAME],
            ),
            entries={TCP: outer},
        )

    def _launch(self, place: Place, side: str, listen: int, target: str, more: list[str]) -> Launch:
        argv = [
            str(self.binary), side,
            "--listen", f"127.0.0.1:{listen}", "--target", target,
            "--cert", place.cert(f"{side}.pem"), "--key", place.cert(f"{side}.key"),
            "--cacert", place.cert("ca.pem"),
            "--quiet", "conns", "--quiet", "conn-errs", "--quiet", "handshake-errs", *more,
        ]
        return Launch(argv, [listen], env={"GOMAXPROCS": str(WORKERS)})


def peers() -> list[Peer]:
    return [Stunnel(), Ghostunnel()]
