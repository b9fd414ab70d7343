"""A portion of models in a worker: rows in order, none before its output is committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engine.task import execute, supervisor_for
from pipeline.ledger.rows import Row
from pipeline.sandbox.process import Limits
from tests.pipeline.engine.test_runner import make_stage, make_tasks

LIMITS = Limits(timeout=20, start_timeout=60, memory_mib=300)
DEEDS = ["ok", "ok", "segfault", "ok", "refuse", "ok"]


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Iterator[tuple[Row, bool]]]:
    """Each row of a portion, and whether its output was in place when it came; the second one cannot be."""
    stage, tasks = make_stage(tmp_path / "out"), make_tasks(tmp_path / "models", tmp_path / "out", DEEDS)
    tasks[1].output.mkdir(parents=True)
    portion = [(task, 1) for task in tasks]
    answers = execute(stage, portion, LIMITS, "portion", recover=False, within=60)
    yield ((row, task.output.is_file()) for task, row in zip(tasks, answers, strict=True))
    supervisor_for(stage.module, LIMITS, "portion").end()


def test_no_row_of_a_portion_comes_before_its_output(rows: Iterator[tuple[Row, bool]]):
    came = list(rows)
    assert [row.uid for row, _ in came] == [f"model-{number:02d}" for number in range(len(DEEDS))]
    kinds = [None, "infrastructure", "crash", None, "empty", None]
    assert [(row.kind, stored) for row, stored in came] == [(kind, kind is None) for kind in kinds]
    assert "Is a directory" in str(came[1][0].message)
