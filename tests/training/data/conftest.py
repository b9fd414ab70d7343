from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def clouds(make_dataset: Callable[..., Path]) -> Path:
    """23 rows in three shards of several row groups."""
    return make_dataset(rows=23, shard=9, group=4) / "clouds"
