"""Checkpoints from strangers: none is executed, memory is bounded by the size, each ends in one line."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from render.failures import UserError
from training.checkpoints import load_model
from training.config import TrainConfig
from training.networks.point_e import read_weights

CONFIG = TrainConfig(width=32, layers=1, heads=2).model_dump()
WEIGHTS = {"a": torch.zeros(40_000)}


class Evil:
    """Makes a file where it is unpickled by the letter."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("pwned",)


def saved(path: Path, **changes: Any) -> None:
    torch.save({"version": 1, "step": 1, "config": CONFIG, "ema": WEIGHTS, **changes}, path)


def configured(**settings: Any) -> Callable[[Path], None]:
    return lambda path: saved(path, config=CONFIG | settings)


def deflated(path: Path) -> None:
    saved(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


FILES: dict[str, Callable[[Path], Any]] = {
    "code": lambda path: saved(path, more=Evil()),
    "text": lambda path: path.write_text("hello"),
    "empty": lambda path: path.write_bytes(b""),
    "FIFO": os.mkfifo,
    "deflated": deflated,
    "list": lambda path: torch.save([1], path),
    "weights of text": lambda path: saved(path, ema={"a": "x"}),
    "no names": lambda path: saved(path, ema=[1]),
    "one value a trillion times": lambda path: saved(path, ema={"a": torch.zeros(1).expand(10**6, 10**6)}),
}
MODELS = FILES | {
    "missing keys": lambda path: torch.save({"step": 1}, path),
    "configuration of text": lambda path: saved(path, config="x"),
    "width": configured(width=1 << 20),
    "layers": configured(layers=10**12),
    "image": configured(image_size=10**6),
    "latents": configured(model="two_stream", latents=10**9),
}


def _line(read: Callable[[Path], Any], path: Path) -> None:
    with pytest.raises(UserError, match=path.name) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", MODELS)
def test_a_hostile_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MODELS[name](tmp_path / "evil.pt")
    _line(load_model, tmp_path / "evil.pt")


@pytest.mark.parametrize("name", FILES)
def test_hostile_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FILES[name](tmp_path / "evil.pt")
    _line(read_weights, tmp_path / "evil.pt")
