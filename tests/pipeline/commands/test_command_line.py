"""The command line as a person meets it: help, mistakes, old flags, completion in shells, foreign text."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cli import VERBS, module_of
from pipeline.commands.completion import Shell, script
from pipeline.terminal import show
from render.failures import printable
from tests.helpers.commands import insideout
from tests.helpers.places import ROOT

HEAVY = ("numpy", "pyarrow", "ray", "torch", "bpy", "PIL", "open3d")


def refused(*arguments: object, code: int = 2) -> str:
    """The one line that a command ends with."""
    done = insideout(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("insideout: "), done.stderr
    return done.stderr.removeprefix("insideout: ").rstrip()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_loads_nothing_heavy_for_it(verb: str):
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try: main([{verb!r}, '--help'])\n"
        f"finally: print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: insideout {verb}") and "HEAVY []" in done.stdout, done.stdout[
        -300:
    ]
    assert (
        "dataset" not in vars(module_of(verb).Command).get("__annotations__", {}) or " DATASET" in done.stdout
    )


def test_the_version():
    assert insideout("--version").stdout.startswith("insideout 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render"], "render: needs MODELS and DATASET."),
        (["render", "a", "b", "--viwes", "3"], "render: has no --viwes 3. Did you mean --views?"),
        (["render", "a", "b", "--engine", "cycels"], "not 'cycels'. Did you mean cycles?"),
        (["render", "a", "b", "--engine"], "render: --engine needs a value."),
        (["render", "a", "b", "--views", "x"], "render: --views needs a whole number, not 'x'."),
        (["render", "a", "b", "--views", "0"], "--views: should be greater than or equal to 1, not 0."),
        (["render", "a", "b", "--memory-mib", "1"], "--memory-mib: should be greater than or equal to 64,"),
        (["render", "a", "b", "--config"], "render: --config needs a value."),
        (["render", "a", "b", "--config", "--views", "3"], "render: --config needs a value."),
        (["export", "a"], "export: needs UID and --to."),
        (["export"], "export: needs DATASET, UID and --to."),
        (["train", "a", "--hidden-share", "x"], "train: --hidden-share needs a number, not 'x'."),
        (["score", "a", "b", "--thresholds", "1", "x"], "score: --thresholds needs a number, not '1', 'x'."),
        (["render", "a", "b", "--fov", "wide"], "render: --fov needs a number, not 'wide'."),
        (["train", "a", "--width", "10"], "train: width 10 must be a multiple of twice the heads, 4."),
        (["status", "a", "--watch", "y"], "status: --watch needs a number, not 'y'."),
        (["failures", "a", "--stage", "x"], "failures: --stage is one of render, fuse, not 'x'."),
        (["sheet", "a", "--to", "b.png", "--across", "0"], "sheet: across 0: it must be at least 1."),
        (["report", "a", "--workers", "0"], "report: workers 0: it must be at least 1."),
        (["status", "a", "--watch", "-1"], "status: watch -1.0: it must be at least 0."),
        (["curate", "a", "--clusters", "-3"], "curate: clusters -3: it must be at least 0."),
        (["view", "a", "b", "--views", "-1"], "view: views -1: it must be at least 0."),
        (["bench", "--repeat", "0"], "bench: repeat 0: it must be at least 1."),
        (["verify", "s3://name:secret@[x"], "s3://...: not an address (Invalid IPv6 URL). Correct it."),
        (["verify", "//[x"], "//[x"),
        (["completion", "tcsh"], "completion: SHELL is one of bash, zsh, fish, not 'tcsh'."),
        (["submit", "--address", "x"], "submit takes one of"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(arguments: list[str], message: str):
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("render --models a --out=b --views 3", "insideout render a b --views 3"),
        ("fuse --out b", "insideout fuse b"),
        ("train --out b --failures 2", "insideout train b --max-failures 2"),
        ("generate --checkpoint c --out x.ply", "insideout generate --checkpoint c --to x.ply"),
        ("evaluate --checkpoint c --out b", "insideout evaluate b --checkpoint c"),
        ("submit --address http://x:1 render --models a --out b", "insideout render a b"),
    ],
)
def test_an_old_flag_is_answered_with_the_new_form(old: str, new: str):
    assert refused(*old.split()).endswith(f"Write: {new}")


def test_yaml_that_is_nested_without_end_is_one_line(tmp_path: Path):
    path = tmp_path / "my run.yaml"
    path.write_text("render: " + "[" * 5000)
    assert "my run.yaml" in refused("render", "a", "b", "--config", path)
    path.write_text("render: {views: [1, {a: 2}], fov: {b: 1}}\n")
    line = refused("render", "a", "b", "--config", path)
    assert "render.views: " in line and "render.fov: " in line and "http" not in line


def test_folders_with_spaces(tmp_path: Path):
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "a.csv").write_text("path\nnowhere.glb\n")
    done = insideout("render", folder / "a.csv", tmp_path / "my dataset", "--workers", 1)
    assert done.returncode in (0, 1) and "1 missing" in done.stdout, done.stdout + done.stderr
    assert "missing: 1" in insideout("failures", tmp_path / "my dataset").stdout


def test_foreign_text_is_shown_and_never_obeyed(capsys: pytest.CaptureFixture[str]):
    show("name\x1b]0;title\x07.glb", "two\nlines\r", "\u202egnp.exe", "schräg ☂ 椅子\u3000", "\udcff")
    shown = capsys.readouterr().out.split("\n")
    assert shown == [
        r"name\x1b]0;title\x07.glb",
        r"two\nlines\r",
        r"\u202egnp.exe",
        "schräg ☂ 椅子\u3000",
        r"\udcff",
        "",
    ]
    assert printable("plain") == "plain"


def test_a_hostile_name_reaches_the_terminal_escaped(tmp_path: Path):
    assert r"\x1b[2J" in refused("status", tmp_path / "a\x1b[2Jb")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the completion script of each shell, and some files to complete."""
    folder = tmp_path_factory.mktemp("completion")
    shells: tuple[Shell, ...] = ("bash", "zsh", "fish")
    for shell in shells:
        (folder / f"_insideout.{shell}").write_text(script(shell))
    (folder / "_insideout").write_text(script("zsh"))
    (folder / "my models").mkdir()
    return folder


CASES = [
    ("insideout fus", "insideout fuse"),
    ("insideout render m d --mem", "insideout render m d --memory-mib"),
    ("insideout render m d --engine eev", "insideout render m d --engine eevee"),
    ("insideout fuse {}/my", "models"),
]


def needs(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")


@pytest.mark.parametrize(("typed", "completed"), CASES)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_in_an_interactive_shell(shell: str, typed: str, completed: str, scripts: Path):
    needs(shell)
    start = {
        "bash": (["bash", "--norc", "-i"], f"source {scripts}/_insideout.bash"),
        "zsh": (["zsh", "-f", "-i"], f"fpath=({scripts} $fpath); autoload -Uz compinit; compinit -u -D"),
    }
    command, setup = start[shell]
    seen = after_tab(command, setup, typed.format(scripts))
    assert completed in seen, seen


@pytest.mark.parametrize(("typed", "completed"), CASES)
def test_fish_completes(typed: str, completed: str, scripts: Path):
    needs("fish")
    command = f"source {scripts}/_insideout.fish; complete -C '{typed.format(scripts)}'"
    done = subprocess.run(["fish", "--no-config", "-c", command], capture_output=True, text=True, timeout=60)
    words = [line.split("\t")[0].rstrip("/").rpartition(" ")[2] for line in done.stdout.splitlines()]
    assert completed.rpartition(" ")[2] in words, done.stdout + done.stderr


def after_tab(command: list[str], setup: str, typed: str) -> str:
    """What the line looks like after Tab in a shell on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", "PS1": "> ", "COLUMNS": "400"})
    try:
        os.write(terminal, f"{setup}; stty cols 400; echo rea''dy\n".encode())
        read_until(terminal, "ready\r")
        os.write(terminal, f"{typed}\t".encode())
        return read_until(terminal, None)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal: int, mark: str | None, limit: float = 30.0, quiet: float = 2.0) -> str:
    """Read until `mark`, or until nothing has come for `quiet` seconds."""
    text, deadline = "", time.monotonic() + limit
    while time.monotonic() < deadline and not (mark and mark in text):
        if not select.select([terminal], [], [], limit if mark else quiet)[0]:
            break
        text += os.read(terminal, 65536).decode(errors="replace")
    return text
