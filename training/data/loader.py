"""Batches for training from a dataset's shards: endless, shuffled by a seed, resumable.

    loader = CloudLoader(Layout(dataset).clouds, batch=16, seed=0)
    for batch in loader: ...
    state = loader.state_dict()         # later, elsewhere: loader.load_state_dict(state)

The batches are a pure function of the manifest, the seed and the recipe; a run's position is one number, the
batches it has used. Neither the number of reader threads nor of processes changes them: a rank makes its part
of every batch (`training.data.shuffle`). Only the columns in use are read: positions, one color and one image
column, because all rows of a row group share their views per epoch; `most` image columns where steps show
several views. At most two windows of row groups per stream are in memory.
`python -m training.benchmarks.reading` measures it.
"""

from __future__ import annotations

import hashlib
import itertools
import queue
import threading
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from fuse.dataset.decisions import decisions_digest
from fuse.dataset.layout import Layout
from fuse.dataset.shard import ShardError
from render.failures import UserError
from training.conditioning.encoder import load_images
from training.conditioning.masks import Masks
from training.data.drawn import DrawnUse, Draws
from training.data.groups import Wanted, parts_of, row_groups
from training.data.point_mix import Mix, UnionOrder
from training.data.rows import OpenShards, Recipe, RowGroup
from training.data.shuffle import Group, Order, Share, shares

Item = TypeVar("Item")
Place = tuple[RowGroup, int]  # and the row
Window = tuple[np.ndarray, dict[int, Future[RowGroup]]]  # (R, 2) of group and row; the groups
AHEAD = 4
"""Batches prepared ahead of the trainer."""


@dataclass(frozen=True)
class Batch:
    """The samples of one step; with several processes, this one's part."""

    points: Tensor  # (B, C, N) float32, the network's frame
    images: list[list[bytes]]  # B times V PNGs, RGBA
    uids: list[str]
    low_res: Tensor | None = None  # (B, C, n) float32: the coarse cloud that the points continue
    captions: list[str] | None = None  # B texts; the source's name where a model has no caption
    pixels: np.ndarray | None = None  # (B, V, size, size, 3) uint8, the decoded images
    cameras: Tensor | None = None  # (B, V, 19) float32, see `training.conditioning.cameras`
    clouds: Tensor | None = None  # (B, K, C, M) float32, drawn clouds to merge
    toward: Tensor | None = None  # (B, K, 3) float32, the directions of their cameras
    masks: list[list[Masks]] | None = None  # B times V, of the images

    @classmethod
    def join(cls, batches: list[Batch]) -> Batch:
        """The samples of several batches in one."""
        return cls(
            **{field.name: _joined([getattr(b, field.name) for b in batches]) for field in fields(cls)}
        )

    def part(self, some: slice) -> Batch:
        """Some of the samples."""
        names = [field.name for field in fields(self)]
        return Batch(**{name: _some(getattr(self, name), some) for name in names})


class CloudLoader:
    """Endless batches, and the consumer's position in them.

    A row's cloud is its first `points` points (after `low_points` that condition it), of which a batch holds
    `step_points` (0: all). `views` is the number of views used (0: all); a step shows `least` to `most` of
    them of each object, a number that follows from the seed and the step, with their `cameras` and interior
    `masks` if asked for.
    `batch` counts the clouds of a step over all `world` processes; this one is `rank`. `streams` are read in
    parallel, each from its own slice of the rows: with one per process, no process reads another's rows.
    `workers` threads read ahead; `decode` is the side, in pixels, to which they decode images (0: not at
    all). Rows come in proportion to their weights, or to those that `insideout curate` decided on; `weighted`
    False: all equally often. `fold` (i, n) is the part of the objects that is used, `drawn` are clouds that a
    checkpoint has drawn of them; objects without are left out. Raises ShardError where there is nothing to
    read or the data is damaged.
    """

    def __init__(
        self,
        clouds: Path,
        batch: int,
        *,
        points: int = 1024,
        low_points: int = 0,
        step_points: int = 0,
        mix: Mix = Mix(),  # noqa: B008, frozen
        target: Literal["rgb", "albedo"] = "rgb",
        split: str = "train",
        fold: tuple[int, int] | None = None,
        drawn: DrawnUse | None = None,
        weighted: bool = True,
        views: int = 0,
        least: int = 1,
        most: int = 1,
        images: bool = True,
        cameras: bool = False,
        masks: bool = False,
        captions: bool = False,
        decode: int = 0,
        seed: int = 0,
        window: int = 4,
        streams: int = 1,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ):
        if batch % world:
            raise UserError(
                f"a batch of {batch} clouds cannot be divided evenly among {world} processes. "
                "Choose a multiple."
            )
        least, most = (least, most) if images else (1, 1)
        self._draws, self._use = (Draws(Path(drawn.folder)), drawn) if drawn else (None, None)
        wanted = Wanted(split, mix, views, images, masks, fold, weighted)
        parts = parts_of(clouds)
        groups = row_groups(clouds, parts, wanted, self._draws)
        self.rows = sum(len(group.rows) for group in groups)
        """Rows in use."""
        self.used = 0
        """Batches returned so far, by this run and those that it resumes."""
        _check_enough(clouds, groups, streams, most if images else 0)
        self._batch, self._least, self._most = batch, least, most
        self._workers, self._decode = workers, decode if images else 0
        self._order = Order(groups, seed, window, streams)
        self._shares = shares(batch, streams, rank, world)
        self._recipe = Recipe(
            mix, points, low_points, step_points or points, target, images, captions, cameras, masks
        )
        self._shards, self._union = OpenShards(), UnionOrder()
        self._data = _digest(
            [part.sha256 for part in parts] + ([self._draws.identity] if self._draws else [])
        )
        self._curation = decisions_digest(Layout(clouds.parent)) if weighted else ""
        identity = (split, views, seed, window, streams, self._recipe)
        identity += ((least, most),) if most > 1 else ()
        identity += (fold, drawn and (drawn.most, drawn.points)) if fold or drawn else ()
        self._identity = _digest(identity)

    def __iter__(self) -> Generator[Batch]:
        with ExitStack() as stack:
            batches = self._batches(stack)
            for batch in ahead(batches, AHEAD, stack) if self._workers else batches:
                self.used += 1
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """The consumer's position; plain values, the same on every rank."""
        return {
            "used": self.used,
            "batch": self._batch,
            "rows": self.rows,
            "data": self._data,
            "curation": self._curation,
            "identity": self._identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[str]:
        """Continue where `state` was taken; returns what has changed since, in words.

        The batch may differ: as many clouds count as used. With other shards or weights the same number of
        batches is skipped in their order. Raises ShardError if the seed, the split or the recipe differ.
        """
        if "data" in state and state["identity"] != self._identity:
            raise ShardError(
                "the checkpoint was made with another seed, split, streams or points: its position in the "
                "data does not apply. Train under a new run name."
            )
        batch = state.get("batch", self._batch)
        self.used = state["used"] * batch // self._batch
        changes = []
        if state.get("data") != self._data:
            changes.append(f"the shards changed: {state.get('rows', 'unknown')} rows before, {self.rows} now")
        elif state.get("curation", "") != self._curation:
            changes.append(f"the curation changed: {state['rows']} rows before, {self.rows} now")
        if batch != self._batch:
            changes.append(f"batch {batch} before, {self._batch} now")
        return changes

    def _batches(self, stack: ExitStack) -> Iterator[Batch]:
        submit = _inline
        if self._workers:
            submit = stack.enter_context(ThreadPoolExecutor(self._workers, "shards")).submit
        streams = [self._stream(share, submit) for share in self._shares]
        for step in itertools.count(self.used):
            views = self._order.shown(step, self._least, self._most)
            batch = self._collate([place for stream in streams for place in next(stream)], views)
            yield self._with_drawn(batch, step)

    def _stream(self, share: Share, submit: Callable[..., Any]) -> Iterator[list[Place]]:
        """This process's rows of a stream, one list per batch."""
        mine: list[Place] = []
        place = 0
        for rows, tables in self._tables(share, submit):
            for group, row in rows.tolist():
                if share.low <= place < share.high:
                    mine.append((tables[group].result(), row))
                place += 1
                if place == share.per_batch:
                    yield mine
                    mine, place = [], 0

    def _tables(self, share: Share, submit: Callable[..., Any]) -> Iterator[Window]:
        """The windows of a stream with their row groups; workers read the next window meanwhile."""
        pending: deque[Window] = deque()
        for epoch, rows in self._order.windows(share.stream, self.used * share.per_batch):
            groups = np.unique(rows[:, 0]).tolist()
            pending.append((rows, {g: submit(self._read, g, epoch) for g in groups}))
            if len(pending) > min(1, self._workers):
                yield pending.popleft()

    def _read(self, group: int, epoch: int) -> RowGroup:
        rng, views = self._order.rng(epoch, group, 3), self._order.views(epoch, group, self._most)
        return self._shards.read(self._order.groups[group], views, self._recipe, rng)

    def _collate(self, places: list[Place], views: int) -> Batch:
        """The rows as one batch, with so many views of each."""
        recipe = self._recipe
        points = np.empty((len(places), recipe.mix.channels, recipe.step_points), np.float32)
        low = np.empty((len(places), recipe.mix.channels, recipe.low_points), np.float32)
        for i, (group, row) in enumerate(places):
            group.fill(row, points[i], low[i], self._union)
        shown = [(group, row, group.shown(row, views)) for group, row in places]
        images = [group.images(row, which) for group, row, which in shown]
        cameras = [group.cameras(row, which) for group, row, which in shown if recipe.cameras]
        return Batch(
            torch.from_numpy(points),
            images,
            [group.uid(row) for group, row in places],
            torch.from_numpy(low) if recipe.low_points else None,
            [group.caption(row) for group, row in places] if recipe.captions else None,
            self._decoded(images) if self._decode else None,
            torch.from_numpy(np.stack(cameras)) if cameras else None,
            masks=[group.masks(row, which) for group, row, which in shown] if recipe.masks else None,
        )

    def _with_drawn(self, batch: Batch, step: int) -> Batch:
        """The batch with its objects' drawn clouds, if there are any."""
        if self._draws is None or self._use is None:
            return batch
        rngs = [self._order.rng(step, zlib.crc32(uid.encode()), 6) for uid in batch.uids]
        if not self._use.most:
            low = self._draws.one(batch.uids, rngs)
            return replace(batch, low_res=torch.from_numpy(low))
        count = self._order.shown(step, 1, self._use.most)
        clouds, toward = self._draws.some(batch.uids, count, self._use.points, rngs)
        return replace(batch, clouds=torch.from_numpy(clouds), toward=torch.from_numpy(toward))

    def _decoded(self, images: list[list[bytes]]) -> np.ndarray:
        """(B, V, size, size, 3) uint8."""
        pixels = load_images([image for shown in images for image in shown], self._decode)
        return pixels.reshape(len(images), -1, *pixels.shape[1:])


def ahead(items: Iterator[Item], depth: int, stack: ExitStack) -> Iterator[Item]:
    """The items, prepared by a thread up to `depth` ahead; it ends when `stack` is closed."""
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    closed = threading.Event()

    def hand_on(item: Item | None, error: BaseException | None = None) -> None:
        while not closed.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_on(item)
                if closed.is_set():
                    return
        except BaseException as error:  # raised in the consumer
            hand_on(None, error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    stack.callback(thread.join)
    stack.callback(closed.set)
    thread.start()
    while True:
        item, error = ready.get()
        if error is not None:
            raise error
        yield item  # pyright: ignore[reportReturnType]


def _joined(parts: Sequence[Any]) -> Any:
    """Tensors, arrays (B, ...) or lists in one; None if there are none."""
    there = [part for part in parts if part is not None]
    if not there or len(there) < len(parts):
        return None
    if isinstance(there[0], list):
        return [item for part in there for item in part]
    return torch.cat(there) if isinstance(there[0], Tensor) else np.concatenate(there)


def _some(values: Any, some: slice) -> Any:
    return None if values is None else values[some]


def _check_enough(clouds: Path, groups: Sequence[Group], streams: int, views: int) -> None:
    """ShardError where there are fewer rows than streams, or fewer views than a step shows."""
    rows = sum(len(group.rows) for group in groups)
    if rows < streams:
        raise ShardError(f"{clouds}: {rows} usable rows for {streams} streams. Fuse more models.")
    for group in groups:
        if group.views < views:
            raise ShardError(
                f"{group.path}: {group.views} views per model, but a step shows up to {views}. Render more "
                "views, or lower views_most."
            )


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _inline(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Like `Executor.submit`, executed immediately."""
    future: Future[Any] = Future()
    future.set_result(function(*arguments))
    return future
