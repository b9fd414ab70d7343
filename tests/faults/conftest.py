"""A small dataset folder to attack, made once per module; each test gets a copy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from tests.helpers.fuse_dataset import add_models


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "OUT"
    add_models(out, ["cube", "plate"])
    return out


@pytest.fixture
def layout(two_models: Path, tmp_path: Path) -> Layout:
    return Layout(shutil.copytree(two_models, tmp_path / "OUT"))
