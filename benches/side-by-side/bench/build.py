"""Builds what is ours: Sidegate, and the tools that load and answer."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from bench.processes import Failed

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ROOT / "benches" / "side-by-side" / "tools" / "Cargo.toml"


def sidegate() -> str:
    """A release build of this tree, as users get it."""
    _cargo(["build", "--release", "--bin", "sidegate"], ROOT / "Cargo.toml")
    return str(_target(ROOT / "Cargo.toml") / "release" / "sidegate")


def tools() -> str:
    """The load, the application, the bare pair, and the maker of certificates."""
    if given := os.environ.get("SIDEGATE_BENCH_TOOLS"):
        return given
    _cargo(["build", "--release"], TOOLS)
    return str(_target(TOOLS) / "release" / "bench")


def commit() -> str:
    """Which tree this is, and whether it was changed since."""
    try:
        return subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cargo(arguments: list[str], manifest: Path) -> None:
    print(f"building {manifest.relative_to(ROOT)}", flush=True)
    argv = ["cargo", *arguments, "--quiet", "--locked", "--manifest-path", str(manifest)]
    if subprocess.run(argv, check=False).returncode != 0:
        raise Failed(f"`{' '.join(argv)}` failed")


def _target(manifest: Path) -> Path:
    """Where cargo puts things, which the environment may say otherwise."""
    told = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline",
         "--manifest-path", str(manifest)],
        capture_output=True, text=True, check=True,
    ).stdout
    return Path(json.loads(told)["target_directory"])
