"""One row group of a shard in memory, and the clouds of its rows.

Point columns are read as bytes and accessed through numpy views: only the points in use are copied.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from fuse.dataset.decisions import Decisions, weight_of
from fuse.dataset.shard import Shard, ShardError, image_column, interior_column, layers_column
from training.conditioning.cameras import NUMBERS
from training.conditioning.masks import Masks
from training.data.channels import to_network
from training.data.point_mix import Mix, PointsFrom, UnionOrder
from training.data.shuffle import Group

Places = slice | np.ndarray
COUNTS = {"outside": ("n_outside",), "outside+hidden": ("n_outside", "n_hidden"), "solid": ("n_solid",)}
"""The columns with the number of points of a mix."""


@dataclass(frozen=True)
class Recipe:
    """What a sample contains: points `low_points`.. of the mix, and what accompanies them."""

    mix: Mix
    points: int
    low_points: int
    step_points: int
    target: Literal["rgb", "albedo"]
    images: bool = True
    captions: bool = False
    cameras: bool = field(default=False, repr=False)  # not part of what a run's position depends on
    masks: bool = field(default=False, repr=False)  # likewise

    def columns(self, views: Sequence[int]) -> list[str]:
        """The columns of a shard that a sample needs."""
        names = ["uid"]
        if self.mix.kind == "solid":
            names += ["solid_xyz"]
        else:
            names += ["outside_xyz", f"outside_{self.target}"]
        if self.mix.kind == "outside+hidden":
            names += ["hidden_xyz", "hidden_albedo"]
        names += [image_column(view) for view in views if self.images] + ["cameras"] * self.cameras
        names += [column(view) for view in views if self.masks for column in (interior_column, layers_column)]
        return names + ["caption", "source"] * self.captions


def usable_rows(shard: Shard, group: int, split: str, kind: PointsFrom) -> np.ndarray:
    """The rows of a row group that belong to the split and have points of the kind, (R,) int64."""
    table = shard.table(group, ["split", *COUNTS[kind]])
    points = sum(table[name].to_numpy() for name in COUNTS[kind])
    return np.flatnonzero((np.array(table["split"].to_pylist()) == split) & (points > 0))


def row_weights(shard: Shard, group: int, decided: Decisions) -> np.ndarray:
    """The sampling weights of a row group's rows, (R,) float64, as `decided` or their own.

    ShardError for a negative or infinite one.
    """
    table = shard.table(group, ["uid", "weight"])
    weights = table["weight"].to_numpy().astype(np.float64)
    for row in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))[:1].tolist():
        raise ShardError(
            f"{shard.path}: {table['uid'][row].as_py()} has weight {weights[row]}. Weights are 0 (never "
            "used) or positive numbers."
        )
    uids = table["uid"].to_pylist()
    return np.array([weight_of(decided, uid, own) for uid, own in zip(uids, weights.tolist(), strict=True)])


class Blobs:
    """A binary column as arrays: `blobs[row]` is a view, (N, width) of `dtype`, on the column's memory."""

    def __init__(self, column: pa.ChunkedArray, dtype: str, width: int = 3):
        array = column.combine_chunks()
        _, offsets, data = array.buffers()
        self._offsets = np.frombuffer(offsets, np.int32)[array.offset :].tolist()
        self._data = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        self._dtype, self._width = np.dtype(dtype), width

    def __getitem__(self, row: int) -> np.ndarray:
        data = self._data[self._offsets[row] : self._offsets[row + 1]]
        return data.view(self._dtype).reshape(-1, self._width)


class Cameras:
    """The column of cameras as arrays: `cameras[row]` is (V, 19) float32."""

    def __init__(self, column: pa.ChunkedArray):
        array = column.combine_chunks()
        self._offsets = array.offsets.to_numpy()
        cameras = array.values
        matrices = cameras.field("camera_to_world").flatten().to_numpy().reshape(-1, 16)
        self._numbers = np.zeros((len(matrices), NUMBERS), np.float32)
        self._numbers[:, :16] = matrices
        self._numbers[:, 16] = np.tan(cameras.field("fov").to_numpy() / 2)

    def count(self, row: int) -> int:
        """The number of the row's cameras."""
        return int(self._offsets[row + 1] - self._offsets[row])

    def __getitem__(self, row: int) -> np.ndarray:
        return self._numbers[self._offsets[row] : self._offsets[row + 1]]


class RowGroup:
    """The columns of a row group, and the points of each cloud that a step of this epoch sees."""

    def __init__(
        self,
        group: Group,
        table: pa.Table,
        recipe: Recipe,
        views: Sequence[int],
        rng: np.random.Generator,
    ):
        self.path, self.index, self.recipe = group.path, group.index, recipe
        self.views = list(views)
        self._strings = {
            name: table[name].to_pylist()
            for name in ("uid", "caption", "source")
            if name in table.schema.names
        }
        self._images = [table[image_column(view)] for view in views] if recipe.images else []
        self._masks = [(table[interior_column(v)], table[layers_column(v)]) for v in views if recipe.masks]
        self._cameras = Cameras(table["cameras"]) if recipe.cameras else None
        kinds = {"solid": ("solid",), "outside": ("outside",), "outside+hidden": ("outside", "hidden")}
        colors = {"outside": f"outside_{recipe.target}", "hidden": "hidden_albedo"}
        self._xyz = [Blobs(table[f"{kind}_xyz"], "<f4") for kind in kinds[recipe.mix.kind]]
        self._rgb = [Blobs(table[colors[kind]], "u1") for kind in kinds[recipe.mix.kind] if kind in colors]
        # Each row takes a slice of one permutation, which is a uniform choice too; one permutation per row
        # would cost as much as the rest of its sample.
        order = rng.permutation(recipe.points)
        self._permutation = np.concatenate([order, order[: recipe.step_points]])
        self._starts = rng.integers(recipe.points, size=table.num_rows)
        self._turns = rng.integers(len(self.views), size=table.num_rows)

    def fill(self, row: int, points: np.ndarray, low: np.ndarray, union: UnionOrder) -> None:
        """Write the row's points (C, N) and coarse cloud (C, n) as a step sees them, in the network's frame.

        Raises ShardError where the row has no points of the kind.
        """
        recipe = self.recipe
        xyz, rgb = [column[row] for column in self._xyz], [column[row] for column in self._rgb]
        sizes = [len(one) for one in xyz]
        if not any(sizes):
            raise ShardError(
                f"{self.path}: {self.uid(row)} has no {recipe.mix.kind} points. Fuse it again, or choose "
                "other points (points_from)."
            )
        sampled = len(sizes) == 2 and recipe.mix.share is None
        places = self._by_sampling(row, xyz, union) if sampled else self._by_quota(row, sizes)
        for out, some in zip((low, points), places, strict=True):
            _write(out, xyz, rgb, some)
            if not np.isfinite(out).all():
                raise ShardError(
                    f"{self.path}: {self.uid(row)} has points that are NaN or infinite. Fuse it again, or "
                    "leave the model out."
                )

    def _by_sampling(self, row: int, xyz: list[np.ndarray], union: UnionOrder) -> list[list[Places]]:
        """For coarse cloud and points, the indices of each kind, from one order over both kinds."""
        recipe, outside, chosen = self.recipe, len(xyz[0]), self._choose(row)
        key, count = (self.path, self.index, row), recipe.low_points + recipe.points
        low, points = np.split(union.members(key, xyz[0], xyz[1], count), [recipe.low_points])
        points = points if chosen is None else points[chosen]
        return [[some[some < outside], some[some >= outside] - outside] for some in (low, points)]

    def _by_quota(self, row: int, sizes: list[int]) -> list[list[Places]]:
        """The same from each kind's own order."""
        recipe, hidden = self.recipe, sizes[1] if len(sizes) > 1 else 0
        low = recipe.mix.ranges(sizes[0], hidden, recipe.low_points)
        points = recipe.mix.ranges(sizes[0], hidden, recipe.points, recipe.low_points)
        return [_places(low, sizes, None), _places(points, sizes, self._choose(row))]

    def _choose(self, row: int) -> np.ndarray | None:
        """Indices of the points that a step of this epoch sees, (step_points,); None for all."""
        if self.recipe.step_points == self.recipe.points:
            return None
        return self._permutation[self._starts[row] :][: self.recipe.step_points]

    def uid(self, row: int) -> str:
        """The row's uid."""
        return self._strings["uid"][row]

    def shown(self, row: int, count: int) -> list[int]:
        """Which of the views that were read a step shows of a row: `count`, from a random one on."""
        return [(int(self._turns[row]) + i) % len(self.views) for i in range(count)]

    def images(self, row: int, which: Sequence[int]) -> list[bytes]:
        """The row's PNGs of some of the views that were read; empty if the recipe has no images."""
        return [self._images[at][row].as_py() if self._images else b"" for at in which]

    def masks(self, row: int, which: Sequence[int]) -> list[Masks]:
        """The masks of the same views. ShardError where the row has none."""
        found = [Masks(*(column[row].as_py() for column in self._masks[at])) for at in which]
        if not all(masks.interior and masks.layers for masks in found):
            raise ShardError(
                f"{self.path}: {self.uid(row)} has no interior masks. Render and fuse it again, leave the "
                "model out, or do without masks."
            )
        return found

    def cameras(self, row: int, which: Sequence[int]) -> np.ndarray:
        """The cameras of the same views, (V, 19) float32, see `training.conditioning.cameras`."""
        assert self._cameras is not None, "the recipe has no cameras"
        views = [self.views[at] for at in which]
        if max(views) >= self._cameras.count(row):
            raise ShardError(
                f"{self.path}: {self.uid(row)} has {self._cameras.count(row)} cameras, fewer than views. "
                "Render and fuse it again."
            )
        return self._cameras[row][views]

    def caption(self, row: int) -> str:
        """The row's caption; where it has none, the source file's name in words."""
        source = self._strings["source"][row]
        return self._strings["caption"][row] or Path(source).stem.replace("_", " ").replace("-", " ")


class OpenShards:
    """A few open shards per thread: opening one costs as much as reading five of its rows."""

    def __init__(self, limit: int = 16):
        self._limit = limit
        self._held = threading.local()

    def read(self, group: Group, views: Sequence[int], recipe: Recipe, rng: np.random.Generator) -> RowGroup:
        """Read the columns that the recipe needs, with the images of these views alone."""
        table = self._open(group.path).table(group.index, recipe.columns(views))
        return RowGroup(group, table, recipe, views, rng)

    def _open(self, path: Path) -> Shard:
        held: OrderedDict[Path, Shard] = self._held.__dict__.setdefault("shards", OrderedDict())
        if path not in held:
            held[path] = Shard(path)
        held.move_to_end(path)
        if len(held) > self._limit:
            held.popitem(last=False)[1].file.close(force=True)  # closes the underlying file too
        return held[path]


def _places(ranges: list[tuple[int, int]], sizes: list[int], chosen: np.ndarray | None) -> list[Places]:
    """The indices of each kind: its whole range, or those of the ranges' points that are `chosen`."""
    result: list[Places] = []
    before = 0
    for (first, last), size in zip(ranges, sizes, strict=False):
        if chosen is not None:
            mine = chosen - before
            places = first + mine[(mine >= 0) & (mine < last - first)] if len(sizes) > 1 else first + mine
        elif last <= size:
            result.append(slice(first, last))
            continue
        else:
            places = np.arange(first, last)
        before += last - first
        result.append(places % size if last > size else places)
    return result


def _write(out: np.ndarray, xyz: list[np.ndarray], rgb: list[np.ndarray], places: list[Places]) -> None:
    """Outside points, then hidden ones, into `out` (C, N), the network's frame."""
    at = 0
    for kind, place in enumerate(places):
        chosen = xyz[kind][place]
        to_network(
            chosen,
            rgb[kind][place] if rgb else None,
            kind == 1 if len(places) > 1 else None,
            out[:, at : at + len(chosen)],
        )
        at += len(chosen)
