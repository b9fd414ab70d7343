"""Set-up and `make doctor` on machines that lack something: the real Makefile and script, a PATH of fakes.

The fakes stand for what differs between machines (Python, pip, apt, the user), so that nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

TOOLS = [
    "awk",
    "bash",
    "cat",
    "chmod",
    "cksum",
    "cp",
    "cut",
    "df",
    "dirname",
    "env",
    "expand",
    "flock",
    "grep",
    "make",
    "mkdir",
    "mv",
    "printf",
    "rm",
    "sed",
    "sh",
    "tail",
    "test",
    "touch",
    "tr",
    "wc",
]
PYTHON = """#!/bin/sh
# A Python of version {version}; as .venv's it also has a pip, which installs an `insideout`.
case "$*" in
    *python_version*) {version_line} ;;
    "-m venv .venv")
        mkdir .venv/bin && cp "$0" .venv/bin/python && touch .venv/bin/pip && chmod +x .venv/bin/pip
        echo "command = $0 -m venv $PWD/.venv" >.venv/pyvenv.cfg ;;
    "-m pip install "*)
        echo pip >>calls
        echo "  Downloading bpy-4.5.15.whl (333.3 MB)"
        [ ! -e no-network ] || {{ echo "ERROR: no route to host"; exit 1; }}
        printf '#!/bin/sh\\nprintf "[%%s]" "$@" >>calls; echo >>calls' >.venv/bin/insideout
        chmod +x .venv/bin/insideout ;;
esac
"""


@dataclass
class Machine:
    """A clone in a folder with a space, and the programs that it can find."""

    clone: Path
    programs: Path

    def add(self, name: str, text: str) -> None:
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def add_python(self, version: str, name: str | None = None) -> None:
        name = name or f"python{version.rpartition('.')[0]}"
        self.add(name, PYTHON.format(version=version, version_line=f"echo {version}"))

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", *arguments)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "HOME": str(self.clone.parent)}
        return subprocess.run(
            command, cwd=self.clone, env=environment, capture_output=True, text=True, timeout=60
        )

    def refusal(self, target: str, *arguments: str) -> str:
        """What a target prints that is refused."""
        done = self.make(target, *arguments)
        assert done.returncode != 0
        return done.stdout if target == "doctor" else done.stderr

    def calls(self) -> list[str]:
        path = self.clone / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Debian, all system libraries, Python 3.11, not root."""
    machine = Machine(tmp_path / "my clone", tmp_path / "bin")
    machine.programs.mkdir()
    for tool in TOOLS:
        os.symlink(str(shutil.which(tool)), machine.programs / tool)
    libraries = (ROOT / "configs" / "system-libraries.txt").read_text()
    machine.add("ldconfig", f"#!/bin/sh\ncat <<'END'\n{libraries}\nEND\n")
    machine.add("id", "#!/bin/sh\necho 1000\n")
    machine.add("apt-cache", "#!/bin/sh\nexit 100\n")
    machine.add("apt-get", '#!/bin/sh\necho "apt-get $*" >>calls\n')
    machine.add("c++", "#!/bin/sh\n")
    machine.add_python("3.11.9")
    shutil.copytree(ROOT / "configs", machine.clone / "configs")
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, machine.clone)
    return machine


def test_set_up_shows_its_progress_and_happens_once(machine: Machine):
    first = machine.make("setup")
    assert first.returncode == 0, first.stderr
    assert "bpy-4.5.15.whl (333.3 MB)" in first.stdout and "set-up: done" in first.stdout
    second = machine.make("setup")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert machine.calls() == ["pip"]
    (machine.clone / "requirements.lock").write_text("numpy==1.26.5\n")
    assert machine.make("setup").returncode == 0
    assert machine.calls() == ["pip", "pip"], "a changed lock is installed"


@pytest.mark.parametrize("target", ["setup", "demo", "test", "doctor"])
def test_another_python_is_refused_before_there_is_a_venv(machine: Machine, target: str):
    machine.add_python("3.12.3")
    refusal = machine.refusal(target, "PYTHON=python3.12")
    assert "python3.12 is Python 3.12.3" in refusal and "exists for Python 3.11 only" in refusal
    assert not (machine.clone / ".venv").exists()


@pytest.mark.parametrize("uid", [0, 1000])
def test_where_apt_has_no_python_3_11_two_ways_are_named(machine: Machine, uid: int):
    (machine.programs / "python3.11").unlink()
    machine.add("id", f"#!/bin/sh\necho {uid}\n")
    refusal = machine.refusal("test")
    assert "python3.11 is not on this system" in refusal
    assert "uv python install 3.11" in refusal and "conda create" in refusal
    assert 'make setup PYTHON="$(uv python find 3.11)"' in refusal
    assert not (machine.clone / ".venv").exists()


def test_what_is_missing_is_one_line_to_copy(machine: Machine):
    (machine.programs / "python3.11").unlink()
    (machine.programs / "c++").unlink()
    machine.add("apt-cache", "#!/bin/sh\n")
    machine.add("ldconfig", "#!/bin/sh\necho libX11.so.6\n")
    refusal = machine.refusal("demo")
    assert not machine.calls()
    (line,) = [line for line in refusal.splitlines() if "sudo " in line]
    assert line.strip().startswith("fix: sudo apt-get update && sudo apt-get install -y libxext6 ")
    assert line.endswith(" g++ python3.11 python3.11-venv python3.11-dev")
    assert "libx11-6" not in line, "it is there"


def test_root_gets_what_is_missing(machine: Machine):
    machine.add("id", "#!/bin/sh\necho 0\n")
    (machine.programs / "c++").unlink()
    done = machine.make("setup")
    assert done.returncode == 0, done.stderr
    assert machine.calls() == [
        "apt-get update -qq",
        "apt-get -qq install -y --no-install-recommends g++",
        "pip",
    ]


def foreign(venv: Path) -> None:
    (venv / ".insideout").unlink()


def lost_python(venv: Path) -> None:
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nowhere/python3.11")


def dead_python(venv: Path) -> None:
    (venv / "bin" / "python").write_text("#!/bin/sh\necho libpython3.11.so: cannot open >&2\nexit 127\n")


def other_python(venv: Path) -> None:
    (venv / "bin" / "python").write_text("#!/bin/sh\necho 3.12.3\n")


def moved(venv: Path) -> None:
    (venv / "pyvenv.cfg").write_text("command = /usr/bin/python3.11 -m venv /the/old place/.venv\n")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (foreign, ".venv was not made by this Makefile"),
        (lost_python, ".venv has no Python, or the one that it was made with has moved"),
        (dead_python, ".venv's Python does not start: libpython3.11.so: cannot open"),
        (other_python, ".venv holds Python 3.12.3"),
        (moved, ".venv was made in /the/old place and runs the code there"),
    ],
)
def test_a_broken_venv_is_named_and_the_fix_fixes_it(machine: Machine, harm, reason: str):
    assert machine.make("setup").returncode == 0
    harm(machine.clone / ".venv")
    assert reason in machine.refusal("doctor")
    refusal = machine.refusal("render")
    assert reason in refusal
    fix = refusal.partition("fix: ")[2].splitlines()[0]
    assert machine.run("bash", "-c", fix).returncode == 0, fix
    assert machine.make("doctor").returncode == 0
    assert machine.calls() == ["pip", "pip", "[doctor]"]


def test_a_set_up_that_failed_is_reported_and_continues(machine: Machine):
    network = machine.clone / "no-network"
    network.touch()
    assert "pip: ERROR: no route to host" in machine.refusal("test")
    reason = "set-up has not finished; pip's last words: ERROR: no route to host"
    assert reason in machine.refusal("doctor")
    network.unlink()
    assert machine.make("setup").returncode == 0
    assert machine.make("doctor").returncode == 0
    assert machine.calls() == ["pip", "pip", "[doctor]"]


def test_doctor_before_set_up_changes_nothing(machine: Machine):
    before = sorted(machine.clone.iterdir())
    done = machine.make("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   Python 3.11.9" in done.stdout and "`make setup` builds it" in done.stdout
    assert sorted(machine.clone.iterdir()) == before


def test_folders_may_have_spaces(machine: Machine):
    for target in ("render", "fuse", "samples"):
        done = machine.make(target, "MODELS=my models", "OUT=my out", "ARGS=--workers 2")
        assert done.returncode == 0, done.stderr
    assert machine.calls() == [
        "pip",
        "[render][my models][my out][--workers][2]",
        "[fuse][my out][--workers][2]",
        "[samples][my models]",
    ]


def test_the_demo_ends_with_where_to_look(machine: Machine):
    done = machine.make("demo", "DEMO=my demo")
    assert done.returncode == 0, done.stderr
    verbs = [call[1:].partition("]")[0] for call in machine.calls()[1:]]
    assert verbs[:4] == ["samples", "render", "fuse", "verify"] and verbs[-2:] == ["evaluate", "report"]
    clouds = ["generated.png", "generated-of-three.png", "composed/picture.png"]
    pictures = ["sheet.png", *clouds, "evaluation.png"]
    names = ["dataset/report/index.html", *pictures, "dataset/README.md"]
    lines = done.stdout.splitlines()[-len(names) :]
    assert [line.split("  ")[1].strip() for line in lines] == [f"my demo/{name}" for name in names]


@pytest.mark.parametrize("failing", ["", "check", "test", "soak"])
def test_ci_runs_every_step_and_fails_if_one_does(machine: Machine, failing: str):
    machine.add("make", f'#!/bin/sh\necho "$1" >>calls\n[ "$1" != "{failing}" ]\n')
    shutil.copytree(ROOT / ".ci", machine.clone / ".ci")
    done = machine.run("bash", ".ci/run")
    assert machine.calls() == ["setup", "check", "test", "soak"]
    assert done.returncode == (1 if failing else 0)
