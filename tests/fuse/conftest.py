"""A small dataset folder made from known shapes, once a session; tests that change it take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.fuse_dataset import add_models


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four models in two parts. Do not change it."""
    out = tmp_path_factory.mktemp("dataset")
    add_models(out, ["cube", "plate", "tower", "ball"])
    return out


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    """A copy of `whole` to break."""
    return Path(shutil.copytree(whole, tmp_path / "OUT"))
