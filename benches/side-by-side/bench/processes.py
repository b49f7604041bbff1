"""Starts programs, knows all their processes, and ends them whatever happens."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench import machine


class Failed(Exception):
    """A program did not do what it was started for."""


@dataclass
class Process:
    """A program that was started, with all that it started itself: one session."""

    name: str
    popen: subprocess.Popen
    log: Path
    started: float

    def members(self) -> list[int]:
        return machine.session_members({self.popen.pid})

    def memory(self) -> machine.Memory:
        return machine.memory(self.members())

    def alive(self) -> bool:
        return self.popen.poll() is None

    def tail(self) -> str:
        """The end of what it wrote: what a failure is explained by."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return " | ".join(text.strip().splitlines()[-4:])[-600:]


class Stage:
    """All that runs. Leaving it ends every process group that was started on it."""

    def __init__(self) -> None:
        self.processes: list[Process] = []

    def __enter__(self) -> Stage:
        raise_file_limit()
        signal.signal(signal.SIGTERM, _interrupted)
        signal.signal(signal.SIGHUP, _interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever is impatient must not leave anything behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.stop(*self.processes)

    def start(
        self, name: str, argv: list[str], log: Path, env: dict[str, str] | None = None
    ) -> Process:
        started = time.perf_counter()
        with open(log, "wb") as output:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        return self._keep(Process(name, popen, log, started))

    def converse(self, name: str, argv: list[str], log: Path) -> Process:
        """Starts a program whose standard input and output we hold."""
        started = time.perf_counter()
        with open(log, "wb") as errors:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        return self._keep(Process(name, popen, log, started))

    def _keep(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def stop(self, *processes: Process) -> None:
        """Asks, waits, and then insists. Sidecars drain, which must not hold up the rest."""
        for process in processes:
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + 2
        for process in processes:
            try:
                process.popen.wait(max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            _signal(process, signal.SIGKILL)
            process.popen.wait()
            for pipe in (process.popen.stdin, process.popen.stdout):
                if pipe and not pipe.closed:
                    pipe.close()
        self.processes = [one for one in self.processes if one not in processes]


def _interrupted(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _signal(process: Process, number: int) -> None:
    try:
        os.killpg(process.popen.pid, number)
    except ProcessLookupError:
        pass


def raise_file_limit() -> int:
    """As many open files as we may have, up to what 10,000 connections need: a proxy has two
    sockets for each. Children inherit it."""
    wanted = 65_536
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def proxied_connections() -> int:
    """How many connections a proxy can carry with the open files that it may have."""
    return (raise_file_limit() - 200) // 2


class Ports:
    """Hands out ports above a base, leaving out those that somebody else listens on."""

    def __init__(self, base: int) -> None:
        self.next = base

    def take(self) -> int:
        while True:
            port = self.next
            self.next += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port


def wait_for_port(process: Process, port: int, seconds: float = 20) -> None:
    """Until something accepts there, or the process that should is gone."""

    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _wait(process, accepts, f"port {port}", seconds)


def wait_for_ready(process: Process, port: int, path: str, seconds: float = 20) -> None:
    """Until a readiness endpoint says 200."""

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
                return b" 200 " in probe.recv(64)
        except OSError:
            return False

    _wait(process, ready, f"readiness on port {port}", seconds)


def wait_for_file(process: Process, path: Path, seconds: float = 20) -> None:
    _wait(process, path.exists, str(path), seconds)


def _wait(process: Process, done, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if not process.alive():
            raise Failed(f"{process.name} ended with {process.popen.returncode}: {process.tail()}")
        if time.monotonic() > deadline:
            raise Failed(f"{process.name}: no {what} after {seconds:.0f} s: {process.tail()}")
        time.sleep(0.001)
