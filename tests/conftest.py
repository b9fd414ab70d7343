"""What every test runs under."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path_factory.getbasetemp()  # chosen now: some tests set TMPDIR, and their folders go with them
    os.environ["RAY_AUTH_MODE"] = "disabled"
