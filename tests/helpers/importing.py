"""Imports for the tests, each in a supervised child, and small models of known shape and color."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.engine.supervisor import Outcome, Supervisor
from pipeline.sandbox.process import Limits
from render.job import Job, Placement
from tests.helpers.places import SHARED

POINTS = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]], float)
"""A flat quad in the file's own axes: corners counterclockwise, 2 wide, 1 high."""
BYTES = np.array([[255, 0, 0], [0, 128, 0], [0, 0, 64], [200, 100, 50]])
"""The sRGB color that each of those corners means."""


def linear(srgb_bytes: Any) -> np.ndarray:
    """IEC 61966-2-1, written out again."""
    encoded = np.asarray(srgb_bytes, float) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@functools.cache
def _child() -> Supervisor:
    return Supervisor("tests.helpers.import_stage", Limits(timeout=120, memory_mib=6000))


def attempt(path: Path, scratch: Path) -> Outcome:
    """Import `path` in the child, whatever becomes of it."""
    scratch.mkdir(exist_ok=True)
    place = Placement(input=path, output=scratch / "found.json", scratch=scratch)
    return _child().run(Job(uid=path.stem, config_hash="test"), place)


def bring_in(path: Path, scratch: Path) -> dict[str, Any]:
    """What stands in the scene after a successful import; see `import_stage`."""
    outcome = attempt(path, scratch)
    assert outcome.ok, f"{path.name}: {outcome.kind}: {outcome.message}\n{outcome.log_tail}"
    return json.loads((scratch / "found.json").read_text())


def shared(folder: str, name: str) -> Path:
    """A real file of ../shared, or skip."""
    path = SHARED / folder / name
    if not path.exists():
        pytest.skip(f"../shared/{folder}/{name} is not here")
    return path


def size(found: dict[str, Any]) -> np.ndarray:
    return np.array(found["high"]) - np.array(found["low"])


def worst_vertex_color(found: dict[str, Any], up: str = "z") -> float:
    """The largest difference between a corner's linear color and what its place in the quad means.

    `up` says which way the importer turned the file's y axis: it stays, or becomes z.
    """
    corners = np.array(found["corners"])
    assert len(corners) >= 4
    across = corners[:, [0, 1 if up == "z" else 2]]
    nearest = np.linalg.norm(across[:, None] - POINTS[None, :, :2], axis=2)
    assert nearest.min(1).max() < 1e-5, "corners are not where the file has them"
    return float(np.abs(corners[:, 3:6] - linear(BYTES)[nearest.argmin(1)]).max())
