"""`insideout doctor`: try everything that a run needs; report what is wrong, with one line that fixes it.

Each check is tried for real: libraries are resolved by the loader, Blender renders, Ray runs a task.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from pipeline import extras
from pipeline.errors import InfrastructureError
from pipeline.terminal import show

ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = ROOT / "configs" / "system-libraries.txt"
_LOCK = ROOT / "requirements.lock"
_GIB = 1 << 30
_RENDER = """
import sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(scene.camera)
scene.render.engine = sys.argv[1]
scene.render.resolution_x = scene.render.resolution_y = 4
scene.render.filepath = sys.argv[2]
if sys.argv[1] == "CYCLES":
    scene.cycles.samples = 1
bpy.ops.render.render(write_still=True)
"""


@dataclass(frozen=True)
class Command:
    """Check that this machine can run everything; report what is wrong and how to fix it."""

    quick: bool = False
    """Skip the checks that take longer than a second: Blender and Ray."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    state: Literal["ok", "warning", "wrong"]
    text: str
    remedy: str = ""

    def lines(self) -> Iterator[str]:
        """The finding as text."""
        yield f"{self.state:>8}   {self.text}"
        if self.remedy:
            yield f"           fix: {self.remedy}"


def run(command: Command) -> int:
    """Run the checks and print what they find. 1 if something is wrong; warnings do not count."""
    wrong = 0
    checks = _QUICK if command.quick else _ALL
    for check in checks if extras.is_installed("render") else _LIGHT:
        for finding in check():
            show(*finding.lines())
            wrong += finding.state == "wrong"
    show("Everything needed works." if not wrong else f"Found {wrong} problem{'s' * (wrong > 1)}.")
    return int(bool(wrong))


def python() -> Iterator[Finding]:
    """Blender 4.5 as a module exists for Python 3.11 only."""
    version = ".".join(map(str, sys.version_info[:3]))
    if not extras.is_installed("render"):
        yield Finding("ok", f"Python {version}, to read and train: rendering and fusing are not installed")
    elif sys.version_info[:2] == (3, 11):
        yield Finding("ok", f"Python {version}")
    else:
        yield Finding(
            "wrong", f"Python {version}; bpy needs 3.11", "rm -rf .venv && make setup PYTHON=python3.11"
        )


def libraries() -> Iterator[Finding]:
    """Shared libraries that the loader cannot find for bpy and open3d, and the one that EEVEE opens later."""
    missing = {name: "wrong" for path in _extension_modules() for name in missing_libraries(path)}
    if not _loads("libEGL.so.1") or not _loads("libEGL_mesa.so.0"):
        missing.setdefault("libEGL_mesa.so.0", "warning")  # EEVEE needs a driver, Cycles does not
    if not missing:
        yield Finding("ok", "shared libraries of bpy and open3d")
        return
    packages_of = library_packages()
    known = sorted({packages_of[name] for name in missing if name in packages_of})
    remedy = f"sudo apt-get update && sudo apt-get install -y {' '.join(known)}" if known else ""
    state = "wrong" if "wrong" in missing.values() else "warning"
    yield Finding(state, f"shared libraries missing: {', '.join(sorted(missing))}", remedy)


def missing_libraries(path: Path) -> list[str]:
    """What the loader cannot find for one extension module."""
    listing = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
    return re.findall(r"^\s*(\S+) => not found", listing, re.MULTILINE)


def library_packages() -> dict[str, str]:
    """Shared library -> Debian package, from the table that set-up uses."""
    if not _LIBRARIES.exists():
        return {}
    lines = (line.split() for line in _LIBRARIES.read_text().splitlines() if line and line[0] != "#")
    return {library: package for library, package in lines}


def packages() -> Iterator[Finding]:
    """The lock's versions; another one may give other bytes."""
    if not _LOCK.exists():
        yield Finding("warning", f"{_LOCK} is not there: versions not compared")
        return
    locked = dict(
        line.split("==") for line in _LOCK.read_text().splitlines() if "==" in line and line[0] != "#"
    )
    installed = {
        _canonical(entry.name): entry.version.partition("+")[0] for entry in metadata.distributions()
    }
    differing = [
        f"{name} {installed.get(_canonical(name), 'missing')}, locked {version}"
        for name, version in locked.items()
        if installed.get(_canonical(name)) != version
    ]
    remedy = f"{sys.executable} -m pip install -c requirements.lock -e '.[render,train,clip,view,wandb,dev]'"
    if differing:
        yield Finding("warning", f"packages that differ from the lock: {'; '.join(differing)}", remedy)
    else:
        yield Finding("ok", f"{len(locked)} packages at their locked versions")


def room() -> Iterator[Finding]:
    """Disk, shared memory and memory."""
    import psutil

    from pipeline.engine.session import cores

    for folder, least, remedy in (
        (".", 5.0, "put the dataset on a larger disk"),
        (tempfile.gettempdir(), 2.0, "export TMPDIR=/a/larger/disk"),
        ("/dev/shm", 0.25, "in a container: docker run --shm-size=1g"),
    ):
        free = shutil.disk_usage(folder).free / _GIB if os.path.exists(folder) else 0.0
        name = "this folder" if folder == "." else folder
        state = "ok" if free >= least else "warning"
        yield Finding(state, f"{free:.1f} GiB free in {name}", "" if state == "ok" else remedy)

    memory = psutil.virtual_memory().available / _GIB
    few = memory < 1.5 * cores()
    remedy = f"use fewer workers: --workers {max(1, int(memory / 1.5))}" if few else ""
    yield Finding("warning" if few else "ok", f"{memory:.1f} GiB of memory for {cores()} cores", remedy)


def confinement() -> Iterator[Finding]:
    """What this kernel can take from a process that opens unknown files, by taking it from one."""
    code = "from pipeline.sandbox.confine import *; print(apply(Plan('auto')))"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30)
    level = done.stdout.strip() or (done.stderr.strip() or "no answer").splitlines()[-1]
    remedy = "docs/security.md says what is missing and what follows from it"
    full = level.startswith("full")
    yield Finding("ok" if full else "warning", f"confinement of children: {level}", "" if full else remedy)


def gpu() -> Iterator[Finding]:
    """A GPU is used where there is one, and never needed."""
    program = shutil.which("nvidia-smi")
    command = [program or "nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30) if program else None
    names = found.stdout.strip().replace("\n", ", ") if found and found.returncode == 0 else ""
    yield Finding("ok", f"GPU: {names}" if names else "no GPU: everything runs on the CPU")


def blender() -> Iterator[Finding]:
    """Cycles must render; EEVEE should."""
    yield _renders("CYCLES", "wrong")
    yield _renders("BLENDER_EEVEE_NEXT", "warning")


def ray_starts() -> Iterator[Finding]:
    """Ray starts here and runs a task, or answers at RAY_ADDRESS."""
    from pipeline.config import EngineConfig
    from pipeline.engine.session import ray_session

    try:
        with ray_session(EngineConfig(workers=1)) as session:
            import ray

            workers = session.workers
            ray.get(ray.remote(lambda: None).remote(), timeout=60)
        yield Finding("ok", f"Ray {metadata.version('ray')} runs a task ({workers} workers)")
    except (InfrastructureError, OSError, RuntimeError) as error:  # most of Ray's own are RuntimeErrors
        named = os.environ.get("RAY_ADDRESS")
        remedy = "unset RAY_ADDRESS" if named else "rm -rf /tmp/ray, and look at the line above"
        yield Finding("wrong", str(error), remedy)


def _renders(engine: str, otherwise: Literal["warning", "wrong"]) -> Finding:
    name = "Cycles" if engine == "CYCLES" else "EEVEE"
    with tempfile.TemporaryDirectory(prefix="insideout-doctor-") as folder:
        picture = Path(folder, "pixel.png")
        command = [sys.executable, "-c", _RENDER, engine, str(picture)]
        environment = os.environ | {"TMPDIR": folder}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
        except subprocess.TimeoutExpired:
            return Finding(otherwise, f"{name} did not render within 180 s")
        if picture.exists():
            return Finding("ok", f"Blender {metadata.version('bpy')}: {name} renders")
    last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
    remedy = "sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri" if name == "EEVEE" else ""
    return Finding(otherwise, f"{name} does not render: {last}", remedy)


def _extension_modules() -> Iterator[Path]:
    """The native modules whose libraries come from the system."""
    for package, pattern in (("bpy", "__init__*.so"), ("open3d", "cpu/pybind*.so")):
        spec = importlib.util.find_spec(package)  # finds the folder, loads nothing
        for folder in spec.submodule_search_locations or [] if spec else []:
            yield from Path(folder).glob(pattern)


def _loads(library: str) -> bool:
    """In a process of its own: a library once loaded stays."""
    code = f"import ctypes; ctypes.CDLL({library!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_QUICK: tuple[Callable[[], Iterator[Finding]], ...] = (python, libraries, packages, room, confinement, gpu)
_ALL = (*_QUICK, blender, ray_starts)
_LIGHT = (python, room, gpu)
"""What is left to check where the extra `render` is not installed."""
