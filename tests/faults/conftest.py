"""The helpers of tests/pipeline; children find the test stages of both folders by PYTHONPATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

STAGES = (str(Path(__file__).parents[1] / "pipeline"), str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def _stages_importable(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path_factory.getbasetemp()  # chosen now: some tests set TMPDIR, and theirs goes with them
    os.environ["PYTHONPATH"] = os.pathsep.join([*STAGES, os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_AUTH_MODE"] = "disabled"
