"""The helpers and the test stage of tests/pipeline; children find the latter by PYTHONPATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PIPELINE_TESTS = Path(__file__).parents[1] / "pipeline"


@pytest.fixture(autouse=True, scope="session")
def _stages_importable() -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PIPELINE_TESTS), os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_AUTH_MODE"] = "disabled"
