"""The command line, and the steps of a run in their order."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from bench import bare, build, envoy, haproxy, install, machine, nginx, tunnels
from bench.figures import subtract_direct
from bench.measure import Bench
from bench.peer import TRUST_DOMAIN, Direct, Peer, Place
from bench.processes import Failed, Ports, Process, Stage, raise_file_limit, wait_for_port
from bench.report import About, Report
from bench.rounds import Results, Run
from bench.sidegate import Sidegate, start_agent
from bench.workloads import Workload, chosen

QUICK = ["http1-16", "http2-8x32", "tcp-16", "connect-tcp", "download-tcp-1", "start"]
SELF_CHECK = [*QUICK, "http1-1", "grpc-8x32", "grpc-stream", "connect-http", "upload-http1-1", "latency-http1",
              "idle-tcp-1000"]

# What a shell says of a program that Ctrl-C ended.
INTERRUPTED = 130


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.command == "install":
        return install.install()
    try:
        return _run(_settled(arguments))
    except (Failed, ValueError) as error:
        print(f"side-by-side: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run", description="Sidegate beside its peers, in one go.")
    parser.add_argument("command", nargs="?", choices=["install"], help="get the peers first")
    parser.add_argument("--sidegate", action="append", metavar="[NAME=]PATH", help="a binary to measure in place "
                        "of a release build; several to compare versions, the first being the base")
    parser.add_argument("--peers", metavar="A,B", help="only these, beside Sidegate and `direct`")
    parser.add_argument("--workloads", metavar="X,Y", help="only these, by name or by what they begin with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each sample")
    parser.add_argument("--quick", action="store_true", help="a first look: few workloads, 2 rounds of 2 s")
    parser.add_argument("--self-check", action="store_true", help="every kind of workload once for 1 s; fails if "
                        "Sidegate, the bare pair or `direct` does")
    parser.add_argument("--accept-noise", action="store_true", help="keep samples that others disturbed")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="default: to standard output")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--port-base", type=int, default=23_000)
    parser.add_argument("--keep", action="store_true", help="keep the folder of configurations and logs")
    parser.add_argument("--list", action="store_true", help="say which peers and workloads there are")
    return parser


def _settled(arguments: argparse.Namespace) -> argparse.Namespace:
    names = arguments.workloads.split(",") if arguments.workloads else []
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 2
        names = names or QUICK
    if arguments.self_check:
        arguments.rounds, arguments.seconds, arguments.accept_noise = 1, 1, True
        names = names or SELF_CHECK
    arguments.chosen = chosen(names)
    return arguments


def _run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        return _list(arguments.chosen)
    versions = _versions(arguments.sidegate)
    tool = build.tools()
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as scratch, Stage() as stage:
        folder = Path(tempfile.mkdtemp(prefix="side-by-side-")) if arguments.keep else Path(scratch)
        if arguments.keep:
            print(f"configurations and logs stay in {folder}")
        ports = Ports(arguments.port_base)
        place = _place(stage, tool, versions[0].binary, folder, ports)
        bench = Bench(stage, tool, folder, arguments.seconds)
        peers = _peers(arguments.peers, versions, tool, arguments.chosen)
        run = Run(bench, place, peers, arguments.chosen, arguments.rounds, arguments.accept_noise)
        interrupted = False
        try:
            run.all()
        except KeyboardInterrupt:
            interrupted = True
            print("interrupted: what is there is reported", file=sys.stderr)
        _report(arguments, run, versions[0].name)
        if interrupted:
            return INTERRUPTED
        return _self_checked(run.results) if arguments.self_check else 0


def _versions(given: list[str] | None) -> list[Sidegate]:
    """`PATH` is plain `sidegate`, `NAME=PATH` is `sidegate-NAME`."""
    versions = []
    for one in given or [build.sidegate()]:
        name, _, path = one.rpartition("=")
        binary = Path(path).resolve()
        if not binary.is_file():
            raise ValueError(f"there is no {binary}")
        versions.append(Sidegate(f"sidegate-{name}" if name else "sidegate", str(binary)))
    return versions


def _peers(
    wanted: str | None, versions: list[Sidegate], tool: str, workloads: list[Workload]
) -> list[Peer]:
    known = [
        *envoy.peers(), *haproxy.peers(), *nginx.peers(), *tunnels.peers(), *bare.peers(tool),
    ]
    if wanted is not None:
        names = [name for name in wanted.split(",") if name]
        if unknown := set(names) - {peer.name for peer in known} - {"direct"}:
            raise ValueError(f"no peer `{', '.join(unknown)}`: there are "
                             + ", ".join(peer.name for peer in known))
        known = [peer for peer in known if peer.name in names]
    big = Sidegate(f"{versions[0].name}-10000", versions[0].binary, big=True, only=("policy", "start"))
    used = {workload.name for workload in workloads}
    known = [peer for peer in (*known, big) if not peer.only or used & set(peer.only)]
    return [*versions, *known, Direct()]


def _place(stage: Stage, tool: str, sidegate: str, folder: Path, ports: Ports) -> Place:
    """Certificates, the agent and the application: what all pairs share."""
    certs = folder / "certs"
    made = stage.start("certs", [tool, "certs", str(certs), "--trust-domain", TRUST_DOMAIN],
                       folder / "certs.log")
    if made.popen.wait() != 0:
        raise Failed(f"no certificates: {made.tail()}")
    stage.stop(made)
    _, sockets = start_agent(stage, sidegate, folder)
    http, h2, tcp = (ports.take() for _ in range(3))
    origin: Process = stage.start(
        "origin",
        [tool, "origin", "--http", f"127.0.0.1:{http}", "--h2", f"127.0.0.1:{h2}",
         "--tcp", f"127.0.0.1:{tcp}"],
        folder / "origin.log",
    )
    wait_for_port(origin, http)
    wait_for_port(origin, h2)
    return Place(folder, certs, sockets, f"127.0.0.1:{http}", f"127.0.0.1:{h2}", ports)


def _report(arguments: argparse.Namespace, run: Run, ours: str) -> None:
    for cells in run.results.cells.values():
        subtract_direct(cells)
    about = About(
        command=shlex.join(["benches/side-by-side/run", *sys.argv[1:]]),
        date=time.strftime("%Y-%m-%d"),
        environment={**machine.describe(), "open files": f"{raise_file_limit():,}"},
        commit=build.commit(),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        accept_noise=arguments.accept_noise,
    )
    report = Report(about, run.peers, run.workloads, run.results, ours)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.json(), indent=1, ensure_ascii=False) + "\n")
    if arguments.report:
        arguments.report.write_text(report.markdown())
    else:
        print(f"\n{report.markdown()}", end="")


def _self_checked(results: Results) -> int:
    """Peers of others may fail or be absent; what is ours may not."""
    ours = ("sidegate", "bare", "direct")
    failures = [f"{name}: {why}" for name, why in results.skipped.items() if name.startswith(ours)]
    failures += [
        f"{workload}, {peer}: {cell.failure()}"
        for workload, cells in results.cells.items()
        for peer, cell in cells.items()
        if peer.startswith(ours) and cell.failure()
    ]
    for failure in failures:
        print(f"side-by-side: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _list(workloads: list[Workload]) -> int:
    print("workloads:")
    for workload in workloads:
        print(f"  {workload.name:<18} {workload.title}")
    print("peers:")
    for peer in (*envoy.peers(), *haproxy.peers(), *nginx.peers(), *tunnels.peers(), *bare.peers("")):
        print(f"  {peer.name:<22} {peer.missing() or peer.version()}")
    return 0
