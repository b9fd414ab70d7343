"""The training runs of a dataset: curves from their journals, samples, evaluations."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from fuse.dataset.names import is_name
from render.failures import DAMAGE
from training.output.logs import read_log

_POINTS = 1500  # of a curve
_SAMPLES = 12  # sheets of a run
_ACROSS = 1200  # pixels of a sheet
_LOGS = ("loss", "validation", "score")
_MOST = 1 << 26  # bytes of a file


def read_runs(layout: Layout) -> Iterator[dict[str, Any]]:
    """Every run, by name: its configuration, curves, sheets of samples (their paths) and evaluations."""
    names = {entry.name.split("/")[0] for entry in storage.listing(layout.checkpoints) if "/" in entry.name}
    for name in sorted(filter(is_name, names)):
        folder = layout.checkpoints / name
        curves = {log: _curves(folder / f"{log}.jsonl") for log in _LOGS}
        samples = _sheets(folder)
        if any(curves.values()) or samples:
            yield {
                "name": name,
                "configuration": _configuration(folder),
                "curves": {log: curve for log, curve in curves.items() if curve},
                "samples": samples,
                "evaluations": list(_evaluations(folder)),
            }


def sheet(path: Path) -> bytes:
    """A sheet of samples as WebP. ValueError where it is no picture."""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(path, _MOST)), formats=["PNG"]) as image:
            picture = image.convert("RGB")
    except (OSError, *DAMAGE, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: no picture ({error})") from error
    picture.thumbnail((_ACROSS, _ACROSS * 8))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()


def _sheets(folder: Path) -> list[tuple[int, Path]]:
    """(step, picture) of at most a dozen sheets, the first and the last among them."""
    found = []
    for entry in storage.listing(folder / "samples"):
        step = entry.name.removeprefix("step-").removesuffix(".png")
        if step.isascii() and step.isdigit():
            found.append((int(step), folder / "samples" / entry.name))
    found.sort()
    keep = {round(i * (len(found) - 1) / (_SAMPLES - 1)) for i in range(_SAMPLES)}
    return found if len(found) <= _SAMPLES else [found[index] for index in sorted(keep)]


def _curves(path: Path) -> dict[str, list[float | None]]:
    """Name -> values, with `step`; evenly thinned."""
    lines = list(read_log(path))
    stride = max(1, math.ceil(len(lines) / _POINTS))
    lines = lines[::-1][::stride][::-1]  # the last one stays
    names = sorted({name for line in lines for name, value in line.items() if _is_number(value)})
    return {name: [_number(line.get(name)) for line in lines] for name in names}


def _configuration(folder: Path) -> str:
    """config.json, indented; empty where there is none."""
    try:
        value = _parsed(storage.read_bytes(folder / "config.json", _MOST))
    except FileNotFoundError:
        return ""
    return json.dumps(value, indent=1, sort_keys=True)


def _evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """What `insideout evaluate` kept of the run: the means, then each score with its floor and ceiling."""
    for entry in sorted(storage.listing(folder / "evaluations")):
        if not entry.name.endswith(".json") or not is_name(entry.name):
            continue
        found = _parsed(storage.read_bytes(folder / "evaluations" / entry.name, _MOST))
        if isinstance(found, dict):
            means = [[name, _number(value)] for name, value in found.items() if _is_number(value)]
            about = str(found.get("objects_of") or "")
            name = entry.name.removesuffix(".json")
            yield {"name": name, "about": about, "means": means, "scores": list(_scores(found.get("scores")))}


def _scores(report: Any) -> Iterator[list[Any]]:
    """[name, value, floor, ceiling] of each score."""
    listed = report.get("scores") if isinstance(report, dict) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            yield [str(one.get("name")), *(_number(one.get(key)) for key in ("value", "floor", "ceiling"))]


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    try:
        return float(value) if _is_number(value) and math.isfinite(value) else None
    except OverflowError:  # an integer beyond the range of floats
        return None
