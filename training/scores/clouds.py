"""Clouds to be judged: from the network's tensors, from PLY and npz files, and with fewer points."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from render.failures import UserError
from training.data.channels import from_network, hidden_of

ENDINGS = (".ply", ".npz")


@dataclass(frozen=True)
class Cloud:
    """A cloud."""

    name: str
    """Pairs a cloud with its true cloud."""
    xyz: np.ndarray  # (N, 3) float64
    hidden: np.ndarray | None = None  # (N,) bool, if it has labels
    rgb: np.ndarray | None = None  # (N, 3) uint8, if it was read from a file with colors

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, places: np.ndarray) -> Cloud:
        """The points at (n,) indices."""
        labels, colors = (None if one is None else one[places] for one in (self.hidden, self.rgb))
        return Cloud(self.name, self.xyz[places], labels, colors)


def from_channels(name: str, points: np.ndarray) -> Cloud:
    """A cloud (C, N) in the network's frame."""
    return Cloud(name, points[:3].T.astype(float), hidden_of(points), from_network(points)[1])


def distinct(cloud: Cloud) -> Cloud:
    """The cloud without points that repeat, as in rows that have too few."""
    _, first = np.unique(cloud.xyz, axis=0, return_index=True)
    return cloud.take(np.sort(first))


def read_clouds(path: Path) -> list[Cloud]:
    """A PLY or npz file, or all of a folder, by name. UserError where there are none."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
        names = [file.stem for file in files]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(
                f"{path}: two files are called {min(twice)}. Give a folder of .ply or of .npz files."
            )
    else:
        files = [path]
    if not files:
        raise UserError(f"{path}: no .ply or .npz files in this folder.")
    return [read_cloud(file) for file in files]


def read_cloud(path: Path) -> Cloud:
    """A cloud of a PLY file, or of an npz as Point-E writes it (`coords`, whose frame is ours halved).

    The property or array `label` says which points are hidden (1). UserError for anything else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: cannot read {path.suffix or 'this'}. Give .ply or .npz.")
    try:
        xyz, label, rgb = (_read_npz if path.suffix.lower() == ".npz" else _read_ply)(path)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise UserError(f"{path}: not a readable cloud ({error}).") from error
    if xyz.ndim != 2 or xyz.shape[1:] != (3,) or len(xyz) < 2 or not np.isfinite(xyz).all():
        raise UserError(
            f"{path}: not a cloud of two or more finite points (its array is {xyz.shape}). Leave it out."
        )
    hidden = None if label is None else label.reshape(-1) > 0.5
    return Cloud(path.stem, xyz.astype(float), hidden, None if rgb is None else _bytes(rgb))


_Read = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # xyz, labels, colors as the file has them


def _read_npz(path: Path) -> _Read:
    with np.load(path, allow_pickle=False) as arrays:
        colors = [arrays[name] for name in "RGB"] if {"R", "G", "B"} <= set(arrays) else None
        return (
            arrays["coords"] * 2,
            arrays.get("label"),
            None if colors is None else np.stack(colors, axis=1),
        )


def _read_ply(path: Path) -> _Read:
    from trimesh.exchange.ply import load_ply

    with path.open("rb") as file:
        loaded = load_ply(file, fix_texture=False, skip_materials=True)
    columns = loaded["metadata"]["_ply_raw"]["vertex"]["data"]  # structured, or of a text file a dict
    names = columns.dtype.names if isinstance(columns, np.ndarray) else columns.keys()
    colors = [columns[name] for name in ("red", "green", "blue") if name in names]
    rgb = np.stack(colors, axis=1) if len(colors) == 3 else None
    return loaded["vertices"], columns["label"] if "label" in names else None, rgb


def _bytes(rgb: np.ndarray) -> np.ndarray:
    """Colors (N, 3) as bytes; as floating-point numbers they are in 0..1."""
    if rgb.dtype.kind != "f":
        return rgb.astype(np.uint8)
    return np.rint(rgb * 255).clip(0, 255).astype(np.uint8)


def thinned(cloud: Cloud, points: int, *seed: int) -> Cloud:
    """`points` of a cloud's points, chosen at random by the seed and its name; all, if it has no more."""
    if len(cloud) <= points:
        return cloud
    return cloud.take(np.sort(_random(cloud, *seed).choice(len(cloud), points, replace=False)))


def halves(cloud: Cloud, points: int, *seed: int) -> tuple[Cloud, Cloud]:
    """Two samples of `points` points of one cloud, of which none is in both."""
    order = _random(cloud, *seed).permutation(len(cloud))
    return cloud.take(order[:points]), cloud.take(order[points : 2 * points])


def _random(cloud: Cloud, *seed: int) -> np.random.Generator:
    """Random numbers of a cloud's own, so that no score depends on what else is scored."""
    return np.random.default_rng([*seed, zlib.crc32(cloud.name.encode())])


def noise_like(clouds: Sequence[Cloud], points: int, *seed: int) -> list[Cloud]:
    """For each cloud `points` uniform points in the box of all clouds, hidden as often as theirs together."""
    every = np.concatenate([cloud.xyz for cloud in clouds])
    low, high = every.min(0), every.max(0)
    labels = [cloud.hidden for cloud in clouds if cloud.hidden is not None]
    share = np.concatenate(labels).mean() if labels else None
    noise = []
    for cloud in clouds:
        rng = _random(cloud, *seed)
        xyz = rng.uniform(low, high, (points, 3))
        noise.append(Cloud(cloud.name, xyz, None if share is None else rng.random(points) < share))
    return noise
