"""What the kernel says: CPU time, memory, and who else is busy."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """MiB. PSS counts what processes share once, which makes sums over them true."""

    pss: float
    resident: float


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, from `state`. Nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def session_members(leaders: set[int]) -> list[int]:
    """Every process of these sessions: programs, and their workers if they fork."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))) and int(fields[3]) in leaders:
            members.append(int(entry))
    return members


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of all threads, and of children that ended."""
    total = 0
    for pid in pids:
        if fields := _stat(pid):
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def memory(pids: list[int]) -> Memory:
    pss = resident = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("Pss:"):
                pss += int(line.split()[1])
            elif line.startswith("Rss:"):
                resident += int(line.split()[1])
    return Memory(pss / 1024, resident / 1024)


def _busy_seconds() -> float:
    """All time that was not idle, stolen time included. Guests are in user time already."""
    with open("/proc/stat") as lines:
        fields = [int(field) for field in lines.readline().split()[1:9]]
    idle, waiting = fields[3], fields[4]
    return (sum(fields) - idle - waiting) / TICKS


def _own_seconds() -> float:
    """This script, and its children that ended and were waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Meter:
    """How many cores others used between two moments. No child may be reaped in between."""

    def __init__(self, ours: list[int]) -> None:
        self.ours = ours
        self.started = time.monotonic()
        self.before = self._foreign()

    def _foreign(self) -> float:
        return _busy_seconds() - cpu_seconds(self.ours) - _own_seconds()

    def foreign_cores(self) -> float:
        elapsed = max(time.monotonic() - self.started, 0.001)
        return max(0.0, (self._foreign() - self.before) / elapsed)


def describe() -> dict[str, str]:
    """The machine, for the report."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or "unknown",
    )
    total = Path("/proc/meminfo").read_text().split("\n", 1)[0].split()[1]
    return {
        "cpu": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{int(total) / 1024 / 1024:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "mitigations": ", ".join(_mitigations()) or "none",
        "python": platform.python_version(),
    }


def _mitigations() -> list[str]:
    """What makes system calls dear here: names of the active mitigations."""
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    if not folder.is_dir():
        return []
    return [one.name for one in sorted(folder.iterdir()) if _mitigated(one)]


def _mitigated(vulnerability: Path) -> bool:
    try:
        return vulnerability.read_text().startswith("Mitigation")
    except OSError:
        return False
