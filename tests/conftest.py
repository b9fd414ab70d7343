"""What every test runs under."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest

from tests.helpers.commands_under_fire import end


@pytest.fixture(autouse=True, scope="session")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    tmp_path_factory.getbasetemp()  # chosen now: some tests set TMPDIR, and their folders go with them
    os.environ["RAY_AUTH_MODE"] = "disabled"
    yield
    end(psutil.Process().children(recursive=True))
