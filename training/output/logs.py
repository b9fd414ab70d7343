"""A run's logs, RUN/*.jsonl, for whoever resumes, describes or plots the run. Needs no torch.

for line in read_log(Path("OUT/checkpoints/tiny/loss.jsonl"), last=1000):
    line["step"], line["loss"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuse.dataset import storage


def read_log(path: Path, last: float = float("inf")) -> Iterator[dict[str, Any]]:
    """The lines of a log up to the step `last`; none where there is no log.

    A killed process may have torn a line, and people edit files: what is no object with a step is skipped.
    """
    try:
        data = storage.read_bytes(path)
    except FileNotFoundError:
        return
    for line in data.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int) and values["step"] <= last:
            yield values
