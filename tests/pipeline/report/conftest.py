"""One dataset, and its report, for all tests of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.site import Options, write_report
from tests.helpers.reported import make_dataset


@pytest.fixture(scope="package")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, or write to a copy of it."""
    return make_dataset(tmp_path_factory.mktemp("report") / "dataset")


@pytest.fixture(scope="package")
def page(dataset: Path) -> Path:
    """index.html of its report."""
    return write_report(dataset, Options(views=2))
