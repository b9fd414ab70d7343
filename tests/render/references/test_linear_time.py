"""What reads a model's bytes takes time in proportion to them, on the worst text known for each pattern.

Sixteen times the text may take up to sixty times the CPU time: caches and a busy machine explain a factor of
four, a quadratic pattern would take 256 times as long.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bench.scan import cpu_seconds, names

SMALL, LARGE = 32 << 10, 512 << 10  # bytes
FLOOR = 0.005  # CPU-seconds below which a measurement says nothing


@pytest.mark.parametrize("name", names())
def test_time_grows_as_the_text_does(tmp_path: Path, name: str):
    small = max(FLOOR, min(cpu_seconds(name, SMALL, tmp_path) for _ in range(3)))
    assert cpu_seconds(name, LARGE, tmp_path) < 60 * small
