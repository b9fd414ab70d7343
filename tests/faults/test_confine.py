"""A confined child gets nowhere, and still imports and renders everything; the control is the child let go.

The escapes are tried for real (`escaping_stage`): against a marker, sockets that listen, and the parent.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.supervisor import Outcome, Supervisor
from pipeline.inputs.staging import stage_input
from pipeline.ledger.compact import latest
from pipeline.sandbox import landlock
from pipeline.sandbox.process import Limits
from render.config import RenderConfig
from render.job import Placement, RenderJob
from tests.helpers.commands_under_fire import cube
from tests.helpers.escaping_stage import ALLOWED, EscapeJob
from tests.helpers.listeners import Listeners
from tests.helpers.places import ROOT
from tests.helpers.tiers import soak

MODELS = ROOT.parent / "shared" / "models"
LIMITS = Limits(timeout=60, start_timeout=60, memory_mib=2048)
OPEN_TO_ALL = {
    *(
        "read the marker",
        "read it by ..",
        "read it by a link in the input",
        "read /etc/passwd",
        "list the root",
        "signal its group",
        "a lease on the input",
    ),
    *(
        "parent's environment",
        "make a link",
        "make a hard link",
        "write the input",
        "change the input",
        "move the input",
        "write the marker",
    ),
    *("chmod the marker", "utime the marker", "TCP", "UDP", "UNIX socket", "abstract socket", "fork", "exec"),
    *("signal the parent", "parent's limits", "anonymous file", "all cores"),
}
"""What an ordinary process of an ordinary user can do: the control must do all of it."""

A_FORMAT_EACH = [
    "kenney/3D-Platformer/character.glb",
    "assimp/glTF2/ClearCoat-glTF/ClearCoatTest.gltf",
    "assimp/OBJ/spider.obj",
    "kaykit/Character-Pack-Adventures-1.0/Assets/fbx/shield_round_color.fbx",
    "trimesh/multibody.stl",
    "draco/test_pos_color_ascii.ply",
    "usd-wg/full_assets/Teapot/Teapot.usd",
    "usd-wg/test_assets/foundation/stage_configuration/upAxis/upAxis_Z.usda",
    "usd-wg/full_assets/Teapot/geo/UtahTeapot.usd",
    "usd-wg/test_assets/USDZ/BoxAnimated/BoxAnimated.usdz",
    "openusd/testUsdAbcIndexedGeomArb/hasColorSet.abc",
    "aws-small-house/aws_robomaker_residential_Chandelier_01/meshes/aws_Chandelier_01_visual.DAE",
    "assimp/BLEND/box.blend",
    "assimp/3DS/fels.3ds",
    "assimp/OFF/Wuson.off",
    "assimp/3MF/box.3mf",
    "assimp/X3D/ComputerKeyboard.x3d",
    "assimp/WRL/Wuson.wrl",
]

A_FEW = {A_FORMAT_EACH[0], "assimp/OBJ/spider.obj", "assimp/3MF/box.3mf"}
needs_landlock = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")


@dataclass
class Escape:
    """What a child tried, and what the world saw of it."""

    level: str
    did: dict[str, str]
    seen: list[str]
    marker: tuple[bytes, int, int]
    secret: bytes


@pytest.fixture(scope="module", params=["require", "off"])
def escape(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Escape:
    if request.param == "require" and landlock.abi() == 0:
        pytest.skip("this kernel has no Landlock")
    folder = tmp_path_factory.mktemp("escape")
    secret, marker = secrets.token_bytes(64), folder / "marker"
    marker.write_bytes(secret)
    marker.chmod(0o640)
    os.utime(marker, ns=(1, 1))
    listeners = Listeners(folder)
    supervisor = Supervisor(
        "tests.helpers.escaping_stage", Limits(**{**LIMITS.__dict__, "confine": request.param})
    )
    try:
        did = _attempts(supervisor, listeners, marker)
    finally:
        listeners.close()
        supervisor.end()
    state = marker.stat()
    found = (marker.read_bytes(), state.st_mode & 0o777, state.st_mtime_ns)
    return Escape(str(supervisor.confinement), did, listeners.seen, found, secret)


def _do(supervisor: Supervisor, places: dict[str, Any]) -> Outcome:
    here = supervisor.workspace.work
    return supervisor.run(EscapeJob(places=places), Placement(input=here, output=here / "out", scratch=here))


def _attempts(supervisor: Supervisor, listeners: Listeners, marker: Path) -> dict[str, str]:
    with supervisor.workspace.job() as (inputs, work):
        (inputs / "model.obj").write_text("v 0 0 0\n")
        (inputs / "link").symlink_to(marker)
        places = {
            "marker": str(marker),
            "input": str(inputs),
            "work": str(work),
            "link": str(inputs / "link"),
        }
        sockets = {"tcp": listeners.tcp, "udp": listeners.udp, "unix": listeners.path}
        outcome = _do(supervisor, {**places, **sockets, "abstract": listeners.abstract})
    assert outcome.status == "ok", outcome
    return outcome.record


def test_what_a_confined_child_gets_at(escape: Escape):
    if escape.level == "off":
        assert {name for name, result in escape.did.items() if result == "ok"} >= OPEN_TO_ALL | ALLOWED
        assert set(escape.seen) == {"tcp", "udp", "unix", "abstract"}
        assert escape.marker[1:] != (0o640, 1), "the control has touched it"
        return
    assert escape.level.startswith("full (landlock ")
    assert {name for name, result in escape.did.items() if result == "ok"} == ALLOWED
    assert not escape.seen
    assert escape.marker == (escape.secret, 0o640, 1)


@pytest.fixture(scope="module")
def renderers() -> Iterator[dict[str, Supervisor]]:
    levels = ("require", "off")
    limits = {
        level: Limits(timeout=240, start_timeout=120, memory_mib=6000, confine=level) for level in levels
    }
    found = {level: Supervisor("render.worker", limits[level]) for level in levels}
    yield found
    for supervisor in found.values():
        supervisor.end()


@needs_landlock
@pytest.mark.skipif(not MODELS.is_dir(), reason="../shared/models is not here")
@pytest.mark.parametrize("source", [name if name in A_FEW else soak(name) for name in A_FORMAT_EACH])
def test_every_format_imports_and_renders_alike(renderers: dict[str, Supervisor], source: str):
    free, confined = (_rendered(renderers[level], source) for level in ("off", "require"))
    assert confined[0].status == "ok", confined[0]
    assert free[1] == confined[1], "confinement changes no byte"


@needs_landlock
@pytest.mark.soak
@pytest.mark.skipif(not MODELS.is_dir(), reason="../shared/models is not here")
@pytest.mark.parametrize("engine", ["eevee", "workbench"])
def test_the_other_engines_render_confined(renderers: dict[str, Supervisor], engine: str):
    free, confined = (_rendered(renderers[level], A_FORMAT_EACH[4], engine) for level in ("off", "require"))
    if free[0].status != "ok":
        pytest.skip(f"{engine} does not render here at all: {free[0].message}")
    assert free[1] == confined[1]


def _rendered(supervisor: Supervisor, source: str, engine: str = "cycles") -> tuple[Outcome, str]:
    """(outcome, sha256 of the bundle) of one of the shared models."""
    config = RenderConfig(views=2, resolution=64, samples=1, device="cpu", engine=engine)  # type: ignore[arg-type]
    with supervisor.workspace.job() as folders, supervisor.turn() as turn:
        staged, work = stage_input(MODELS / source, source, folders, turn), folders.work
        output = work / "out.zip"
        job = RenderJob(uid="model", config_hash="test", source=source, config=config)
        place = Placement(
            input=staged.path, output=output, scratch=work / "w", notes=tuple(staged.notes), input_sha256=""
        )
        outcome = turn.run(job, place)
        return outcome, hashlib.sha256(output.read_bytes()).hexdigest() if output.exists() else "none"


_DENY = """
import ctypes, struct
from pipeline.sandbox import seccomp
def deny(*lines):
    code = [(0x20, 0, 0, 0), *lines, (6, 0, 0, 0x7FFF0000)]
    raw = b"".join(struct.pack("=HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(raw, len(raw))
    program = seccomp._Program(len(code), ctypes.addressof(held))
    seccomp.no_new_privileges()
    nothing = [ctypes.c_ulong(0)] * 2
    assert ctypes.CDLL(None).prctl(22, ctypes.c_ulong(2), ctypes.byref(program), *nothing) == 0
"""
_NO_LANDLOCK = "deny((0x15, 0, 1, 444), (6, 0, 0, 0x50000 | 38))"  # as an old kernel: ENOSYS
_PRCTL = 157 if os.uname().machine == "x86_64" else 167
_NO_SECCOMP = f"deny((0x15, 0, 3, {_PRCTL}), (0x20, 0, 0, 16), (0x15, 0, 1, 22), (6, 0, 0, 0x50000 | 1))"
_ASK = """
import json, sys
from pipeline.sandbox.process import Limits
from pipeline.engine.supervisor import Supervisor
supervisor = Supervisor("tests.helpers.escaping_stage", Limits(start_timeout=60, confine=sys.argv[1]))
from pathlib import Path
from render.job import Placement
from tests.helpers.escaping_stage import EscapeJob
here = Path("/nowhere")
place = Placement(input=here, output=here, scratch=here)
outcome = supervisor.run(EscapeJob(places={"do": "read the input", "input": "/nowhere"}), place)
print(json.dumps([supervisor.confinement, outcome.kind, outcome.message]))
supervisor.end()
"""


@pytest.mark.parametrize(("denied", "named"), [(_NO_LANDLOCK, "landlock"), (_NO_SECCOMP, "seccomp")])
def test_a_missing_layer_is_named(denied: str, named: str):
    """The kernel really refuses the layer: a filter above the supervisor sees to that."""
    level, _, _ = _python(_DENY + denied + _ASK, "auto")
    assert level.startswith("partial (no ") and named in level
    level, kind, message = _python(_DENY + denied + _ASK, "require")
    assert (level, kind) == (None, "infrastructure")
    assert f"no {named}" in message and "docs/security.md" in message


def test_confining_too_late_is_refused():
    code = """
import json, threading, time
from pipeline.sandbox.confine import NotConfined, Plan, apply
threading.Thread(target=time.sleep, args=(1,)).start()
try:
    print(json.dumps(apply(Plan(confine="auto"))))
except NotConfined as refusal:
    print(json.dumps(str(refusal)))
"""
    assert "too late" in _python(code)


def test_a_partial_confinement_is_recorded_and_said_once(tmp_path: Path):
    """A whole command on a kernel that refuses Landlock."""
    models = tmp_path / "models"
    models.mkdir()
    for number in range(3):
        cube(models / f"{number}.obj", 1 + number)
    run = f"from pipeline.cli import main\nimport sys\nsys.exit(main({_render(models, tmp_path / 'out')!r}))"
    done = _process(_DENY + _NO_LANDLOCK + "\n" + run)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count(
        "Confinement of the models' processes is partial (no landlock"
    ) == 1
    rows = latest(tmp_path / "out" / "ledger" / "render").values()
    assert [row.ok and str(row.confinement).startswith("partial (no landlock") for row in rows] == [True] * 3


def _render(models: Path, out: Path) -> list[str]:
    small = ["--views", "1", "--resolution", "32", "--samples", "1", "--slots", "2", "--workers", "1"]
    return ["render", str(models), str(out), *small]


def test_what_a_child_is_given(monkeypatch: pytest.MonkeyPatch):
    """No credential in its environment, and limits that hold whatever it does."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    supervisor = Supervisor("tests.helpers.escaping_stage", Limits(**LIMITS.__dict__))
    try:
        _do(supervisor, {"do": "read the input", "input": "/nowhere"})
        assert supervisor._child is not None
        process = Path(f"/proc/{supervisor._child.process.pid}")
        environment, limits = (process / "environ").read_bytes(), (process / "limits").read_text()
    finally:
        supervisor.end()
    assert b"PYTHONPATH" in environment and b"hidden" not in environment
    words = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert words["Max core file size"] == ["0", "0"]
    assert words["Max open files"] == ["512", "512"]
    assert words["Max address space"] in (["unlimited", "unlimited"], [str((2 << 30) + (4 << 30))] * 2)


def test_the_cost_of_confinement(capsys: pytest.CaptureFixture[str]):
    """Measured and printed, not judged: machines differ."""
    code = """
import json, time
from pipeline.sandbox.confine import Plan, apply
plan = Plan(confine="auto", program=("/usr",), read=("/tmp",), write=("/tmp",))
started = time.perf_counter()
level = apply(plan)
print(json.dumps([level, 1000 * (time.perf_counter() - started)]))
"""
    measured = [_python(code) for _ in range(9)]
    with capsys.disabled():
        milliseconds = statistics.median(ms for _, ms in measured)
        print(f"\nconfining a child: {milliseconds:.1f} ms (median of 9), {measured[0][0]}")
    assert measured[0][0] != "off"


def _python(code: str, *arguments: str) -> Any:
    """What a Python process of our own prints, as JSON."""
    done = _process(code, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, "-c", code, *arguments], {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
