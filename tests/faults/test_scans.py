"""A model that takes over its child as soon as its bytes are read: that costs its own row, and nothing else.

The models go through `execute`, as in a Ray worker, with a good one after each. The children are not
confined: what they may do is for the supervisor alone to stop.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from pipeline.engine.supervisor import Supervisor
from pipeline.engine.task import execute, supervisor_for
from pipeline.engine.tasks import Stage, Task
from pipeline.inputs.staging import stage_input
from pipeline.ledger.rows import Row
from pipeline.sandbox import landlock
from pipeline.sandbox.confine import seals_input
from pipeline.sandbox.process import Limits
from render.failures import ModelFailure
from render.job import Job
from tests.helpers.hijacked_stage import DEEDS, OUTSIDE
from tests.helpers.staging import Here, stage

MODULE = "tests.helpers.hijacked_stage"
LIMITS = Limits(timeout=3, start_timeout=60, memory_mib=300)
OBJ = "mtllib {}.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
PROTOCOL = ("crash", "protocol")
VERDICTS = {
    **dict.fromkeys(DEEDS, PROTOCOL),
    "segfault": ("crash", "SIGSEGV"),
    "leave": ("crash", "exit code 3"),
    "hang": ("timeout", "3 s"),
    "a pattern without end": ("timeout", "3 s"),
    "allocate": ("out_of_memory", "300 allowed"),
}
Do = Callable[[str, bytes], Row]


@pytest.fixture(scope="module")
def do(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Do]:
    """Have one model done, as a Ray worker does; then a good one, which must not suffer."""
    base = tmp_path_factory.mktemp("scans")
    (base / OUTSIDE).write_text("a secret")
    (base / "models").mkdir()
    stage = Stage("hijacked", MODULE, "v1", Layout(base / "out"), lambda _: None)

    def one(name: str, content: bytes) -> Row:
        path = base / "models" / name
        path.write_bytes(content)
        job = Job(uid=path.stem, config_hash="v1")
        task = Task(name, path, base / "out" / f"{path.stem}.done", job)
        [row] = execute(stage, [(task, 1)], LIMITS, "scans", recover=False, within=60)
        return row

    def both(name: str, content: bytes) -> Row:
        row = one(name, content)
        after = one("good.obj", OBJ.format("good").encode())
        assert after.ok and (base / "out" / "good.done").read_bytes() == OBJ.format("good").encode()
        return row

    yield both
    supervisor_for(MODULE, LIMITS, "scans").end()


@pytest.mark.parametrize("deed", [deed for deed in DEEDS if "archive" not in deed and "absolute" not in deed])
def test_what_a_scan_can_do_costs_its_own_model(do: Do, deed: str):
    row = do("bad.obj", f"# {deed}\n{OBJ.format('bad')}".encode())
    kind, said = VERDICTS[deed]
    assert row.kind == kind and said in str(row.message), row
    assert row.input_sha256, "the file has been hashed, for the next run to know it"


@pytest.mark.parametrize("deed", ["a path out of the archive", "an absolute path", "a link in the archive"])
def test_what_unpacking_can_do_costs_its_own_model(do: Do, deed: str):
    row = do("bad.zip", f"# {deed}\n".encode())
    assert row.kind == "crash" and "protocol" in str(row.message), row


def zipped(*entries: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def test_a_zip_bomb_unpacks_to_nothing(do: Do):
    row = do("bomb.zip", zipped(("a.obj", b"v 0 0 0\n" * (10 << 20))))
    assert (row.kind, row.confinement) == ("unsafe_archive", "off") and "unpack to" in str(row.message)


def test_a_zip_that_hides_its_size_is_damaged(do: Do):
    content = zipped(("a.obj", b"v 0 0 0\n" * (10 << 20)))
    size = (10 << 23).to_bytes(4, "little")
    assert content.count(size) == 2
    row = do("liar.zip", content.replace(size, (100).to_bytes(4, "little")))
    assert row.kind == "invalid" and "damaged" in str(row.message), row


def test_names_without_end_are_looked_up_in_time(tmp_path: Path):
    """The lookup is the supervisor's own work: it looks at the clock between two names."""
    content = OBJ.format("x") + "".join(f"mtllib {n}é<UDIM>.png\n" for n in range(4000))
    (tmp_path / "a.obj").write_text(content)
    for number in range(2000):
        (tmp_path / f"{number:04d}.png").touch()
    supervisor = Supervisor(MODULE, Limits(timeout=0.3, start_timeout=60))
    try:
        with (
            supervisor.workspace.job() as folders,
            supervisor.turn() as turn,
            pytest.raises(ModelFailure) as caught,
        ):
            stage_input(tmp_path / "a.obj", "a.obj", folders, turn)
    finally:
        supervisor.end()
    assert caught.value.kind == "timeout", caught.value


def test_a_child_that_could_change_a_linked_original_gets_a_copy(tmp_path: Path):
    original = tmp_path / "a.obj"
    original.write_text(OBJ.format("none"))
    for seals in (True, False):
        placed = stage(original, "a.obj", tmp_path / f"in-{seals}", Here(seals)).path
        assert placed.read_bytes() == original.read_bytes()
        assert os.path.samefile(placed, original) == seals
    assert not seals_input("off") and not seals_input("partial (no landlock: switched off)")
    assert seals_input("full (landlock 3, seccomp)") and not seals_input("full (landlock 2, seccomp)")


@pytest.mark.skipif(landlock.abi() < 3, reason="this kernel's Landlock does not restrict truncation")
def test_a_confined_child_reads_the_original_itself(tmp_path: Path):
    (tmp_path / "a.obj").write_text(OBJ.format("none"))
    supervisor = Supervisor(MODULE, Limits(start_timeout=60, confine="require"))
    try:
        with supervisor.workspace.job() as folders, supervisor.turn() as turn:
            staged = stage_input(tmp_path / "a.obj", "a.obj", folders, turn)
            assert os.path.samefile(staged.path, tmp_path / "a.obj"), "no copy: it costs time and space"
    finally:
        supervisor.end()
