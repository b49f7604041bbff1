"""Takes one sample: runs the load on one pair and reads what it cost."""

from __future__ import annotations

import json
import select
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import Meter, cpu_seconds, session_members
from bench.peer import HTTP2, Pair, Peer, Place
from bench.processes import Failed, Process, Stage
from bench.workloads import IDLE, START, Workload

# Of a core: more than this by others, or stolen, and the sample is taken again.
NOISE = 0.22
SETTLE = 1.0
# Idle is what has been so for a while: programs may give memory back by and by.
IDLE_SETTLE = 5.0
WARMUP = 0.5


@dataclass
class Sample:
    """What one run of one workload through one peer gave."""

    figures: dict[str, float] = field(default_factory=dict)
    foreign_cores: float = 0.0
    failed: str | None = None
    noisy: bool = False


@dataclass
class Bench:
    """What samples are taken with."""

    stage: Stage
    tool: str
    folder: Path
    seconds: float

    def ours(self) -> list[int]:
        """Everything that was started here. The rest of the machine is somebody else's."""
        return session_members({process.popen.pid for process in self.stage.processes})


def take(bench: Bench, workload: Workload, pair: Pair) -> Sample:
    """A sample of a load through a pair that runs already."""
    argv = [
        bench.tool, "load", workload.kind, "--to", f"127.0.0.1:{pair.entries[workload.mode]}",
        "--connections", str(workload.connections), "--streams", str(workload.streams),
        "--seconds", str(bench.seconds), "--warmup", str(_warmup(workload)),
    ]
    for option in ("rate", "bytes"):
        if (value := getattr(workload, option)) is not None:
            argv += [f"--{option}", str(value)]
    proxies, ours = pair.members(), bench.ours()
    load = bench.stage.converse("load", argv, bench.folder / "load.log")
    try:
        _expect(load, "measuring", 30)
        before = cpu_seconds(proxies)
        meter = Meter([*ours, load.popen.pid])
        told = _expect(load, "requests", bench.seconds + 60)
        cpu = cpu_seconds(proxies) - before
        foreign = meter.foreign_cores()
        return _sample_of_load(workload, load, told, cpu, foreign)
    except Failed as failed:
        return Sample(failed=str(failed))
    finally:
        bench.stage.stop(load)
        pair.forget_logs()


def _warmup(workload: Workload) -> float:
    """Connections stand before the clock starts, but where they are what is measured, or where a
    body may take as long as the whole sample."""
    return 0 if workload.kind in ("connect", "download", "upload") else WARMUP


def _sample_of_load(
    workload: Workload, load: Process, told: dict, cpu: float, foreign: float
) -> Sample:
    done = told["requests"]
    if told["errors"] or not done:
        why = load.tail()
        return Sample(failed=f"{told['errors']} errors, {done} {workload.unit}s: {why}")
    figures = {"per_second": told["per_second"]}
    for name in ("p50_us", "p99_us", "p999_us"):
        if told.get(name) is not None:
            figures[name] = told[name]
    if workload.unit == "GB":
        figures["mb_per_s"] = told["mb_per_s"]
        figures["cpu_s_per_gb"] = cpu / (told["bytes"] / 1e9)
    else:
        figures["cpu_us"] = cpu / done * 1e6
    return Sample(figures, foreign)


def take_fresh(bench: Bench, workload: Workload, peer: Peer, place: Place) -> Sample:
    """A sample of a pair that is started for it, and ended after it."""
    running = list(bench.stage.processes)
    meter = Meter(bench.ours())
    try:
        pair = peer.start(bench.stage, place)
        time.sleep(SETTLE)
        if workload.how == START:
            meter.ours = bench.ours()
            return _sample_of_start(pair, meter.foreign_cores())
        if workload.how == IDLE:
            return _sample_of_idle(bench, workload, pair)
        raise Failed(f"nobody knows how to measure {workload.name}")
    except Failed as failed:
        return Sample(failed=str(failed))
    finally:
        bench.stage.stop(*(one for one in bench.stage.processes if one not in running))


def _sample_of_start(pair: Pair, foreign: float) -> Sample:
    memory = {name: side.memory() for name, side in pair.sides().items()}
    figures = {f"{name}_ms": value for name, value in pair.started_ms.items()}
    figures["slower_ms"] = max(pair.started_ms.values())
    for name, value in memory.items():
        figures[f"{name}_resident_mib"] = value.resident
    figures["larger_resident_mib"] = max(value.resident for value in memory.values())
    figures["larger_pss_mib"] = max(value.pss for value in memory.values())
    return Sample(figures, foreign)


def _sample_of_idle(bench: Bench, workload: Workload, pair: Pair) -> Sample:
    # What the first request of all takes is no connection's.
    if failed := _probe(bench, pair, workload.mode):
        return Sample(failed=failed)
    time.sleep(SETTLE)
    before = {name: side.memory().pss for name, side in pair.sides().items()}
    argv = [
        bench.tool, "load", "idle", "--to", f"127.0.0.1:{pair.entries[workload.mode]}",
        "--connections", str(workload.connections),
    ]
    load = bench.stage.converse("load", argv, bench.folder / "load.log")
    standing = _expect(load, "alive", 300)
    time.sleep(IDLE_SETTLE)
    figures: dict[str, float] = {}
    for name, side in pair.sides().items():
        grown = side.memory().pss - before[name]
        figures[f"{name}_kib"] = grown * 1024 / workload.connections
    figures["larger_kib"] = max(figures.values())
    assert load.popen.stdin
    load.popen.stdin.close()
    told = _expect(load, "alive", 60)
    figures["alive"] = told["alive"]
    if standing["errors"] or told["alive"] < workload.connections:
        # The memory of connections that are not there says nothing.
        return Sample({"alive": told["alive"]},
                      failed=f"{told['alive']:,} of {workload.connections:,} alive")
    return Sample(figures)


def _expect(load: Process, key: str, seconds: float) -> dict:
    """The next line of the load that has this key. Other lines are passed over."""
    assert load.popen.stdout
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([load.popen.stdout], [], [], left)[0]:
            break
        line = load.popen.stdout.readline()
        if not line:
            raise Failed(f"the load ended: {load.tail()}")
        told = json.loads(line)
        if key in told:
            return told
    raise Failed(f"the load said nothing of `{key}` in {seconds:.0f} s")


def carries(bench: Bench, pair: Pair) -> str | None:
    """Why requests do not come through, if so. What does not work once is not measured."""
    for mode in pair.entries:
        if failed := _probe(bench, pair, mode):
            return f"{mode}: {failed}"
    return None


def _probe(bench: Bench, pair: Pair, mode: str) -> str | None:
    probe = Workload("probe", "", mode, (), "http2" if mode == HTTP2 else "http1")
    return take(Bench(bench.stage, bench.tool, bench.folder, 0.2), probe, pair).failed
