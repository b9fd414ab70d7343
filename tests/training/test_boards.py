"""The boards show the losses of the journal: TensorBoard's files, and those of an offline run, read back."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_export_model import TINY
from training.train import train

pytest.importorskip("wandb", reason="pip install insideout3d[wandb]")


def records(path: Path) -> Iterator[Any]:
    """The records of an offline run's file: LevelDB's log format, after 7 bytes, of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def finished(path: Path) -> list[Any]:
    """The records once the last one is there: another process writes them."""
    until = time.monotonic() + 60
    while not (found := list(records(path))) or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < until, path
        time.sleep(0.1)
    return found


def test_a_run_that_stopped_and_went_on_is_one_run_offline(
    make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    out = make_dataset(rows=4)
    for steps in (2, 3):
        config = TINY.model_copy(update={"steps": steps, "wandb": "chairs", "tensorboard": True})
        folder = train(config, out, "run", report=lambda _: None).parent
    losses = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    shown: dict[int, float] = {}
    runs = set()
    for path in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        for record in finished(path):
            if record.WhichOneof("record_type") == "run":
                runs.add((record.run.project, record.run.display_name, record.run.run_id))
            items = {item.key or "/".join(item.nested_key): item for item in record.history.item}
            if "loss/loss" in items:
                shown[json.loads(items["step"].value_json)] = json.loads(items["loss/loss"].value_json)
    assert shown == {line["step"]: line["loss"] for line in losses} and set(shown) == {1, 2, 3}
    assert {run[:2] for run in runs} == {("chairs", "run")} and len(runs) == 1
    assert tensorboard(folder / "tensorboard") == pytest.approx(shown, rel=1e-6)


def tensorboard(folder: Path) -> dict[int, float]:
    """Step -> loss."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder))
    board.Reload()
    return {event.step: event.value for event in board.Scalars("loss/loss")}
