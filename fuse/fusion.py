"""Fusion: the points of all views become one dense cloud without duplicates.

No position is ever averaged: a view measured every point of the cloud, so it lies on the surface. Of the
points in a cell of the merge grid the best survives: first by grade, then the one seen most head-on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fuse.cloud import Cloud
from fuse.projection import CLEAN, FILM, MIXED, Samples, project
from render.bundle import View
from render.pinhole import pixel_size

REACH = 1.5
"""A pixel is dropped when a point of a better grade lies within about this many footprints."""
SAMPLED = 1.0
"""Footprints: of the points in such a cell one is sampled from, where that leaves MANY per point wanted."""
MANY = 16
_TABLE = 1 << 26  # cells: more are searched for
_LEVELS = 2**15  # steps of the cosine in the sort key


@dataclass(frozen=True)
class Fused:
    """A dense cloud and its measures."""

    cloud: Cloud
    sampled: np.ndarray  # (M,) int64, those of its points that are enough to sample from
    footprint: float  # a pixel's width at the origin's distance, normalized units
    mixed_dropped: int  # samples of grade FILM or MIXED that had a better one beside them
    mixed_kept: int  # points of those grades in the cloud


def fuse(views: Sequence[View], merge: float, wanted: int = 0) -> Fused:
    """Back-project and merge `views`; see `fuse_samples`. The cloud is empty when they show nothing."""
    return fuse_samples(project(views), mean_footprint(views), merge, wanted)


def mean_footprint(views: Sequence[View]) -> float:
    """A pixel's width at the origin's distance, over all views."""
    return float(np.mean([pixel_size(view.camera, view.depth.shape[1]) for view in views]))


def fuse_samples(samples: Samples, footprint: float, merge: float, wanted: int = 0) -> Fused:
    """Drop the samples that are not needed, then keep one per cell of `merge` footprints.

    Where fewer than `wanted` points would be left (a lattice, a chain), the dropped ones are used after all.
    """
    dropped, index = np.zeros(0, bool), np.zeros(0, np.int64)
    for grades in ((FILM, MIXED), (MIXED,), ()) if len(samples.cloud) else ():
        dropped = needless(samples, footprint, grades)
        kept = np.flatnonzero(~dropped)
        xyz, facing, grade = samples.cloud.xyz[kept], samples.facing[kept], samples.grade[kept]
        index = kept[best_of_cells(xyz, facing, grade, merge * footprint)]
        if len(index) >= wanted:
            break
    mixed = int((samples.grade[index] != CLEAN).sum())
    cloud = samples.cloud.take(index)
    sampled = best_of_cells(cloud.xyz, samples.facing[index], samples.grade[index], SAMPLED * footprint)
    if len(sampled) < MANY * wanted:
        sampled = np.arange(len(cloud))
    return Fused(cloud, sampled, footprint, int(dropped.sum()), mixed)


def needless(samples: Samples, footprint: float, grades: Sequence[int] = (FILM, MIXED)) -> np.ndarray:
    """(N,) bool: samples of `grades` with one of a better grade, of any view, within about REACH footprints.

    The others are kept: nothing else shows wires, leaf tips and lattices thinner than a pixel.
    """
    result = np.zeros(len(samples.cloud), bool)
    # cells of half the reach: a block of 3 x 3 x 3 around a point reaches 0.5 to 1 REACH to every side
    keys, side = _grid(samples.cloud.xyz, REACH / 2 * footprint)
    better = keys[samples.grade < min(grades, default=CLEAN)]
    for grade in sorted(grades):
        asked = samples.grade == grade
        if len(better):
            result[asked] = _has_neighbor(keys[asked], better, side)
        better = np.concatenate([better, keys[asked]])
    return result


def cell_keys(xyz: np.ndarray, cell: float) -> np.ndarray:
    """(N,) int64: points with the same number lie in the same cell of a grid; (N, 3) float32, N above 0."""
    return _grid(xyz, cell)[0]


def best_of_cells(xyz: np.ndarray, facing: np.ndarray, grade: np.ndarray | int, cell: float) -> np.ndarray:
    """(M,) int64 indices of the best of (N, 3) float32 points per cell, ordered by cell: of the lowest
    `grade` (0..2), then of the highest cosine `facing` (N,)."""
    if len(xyz) == 0:
        return np.zeros(0, np.int64)
    keys, _ = _grid(xyz, cell)
    blame = np.rint((1 - facing) * (_LEVELS - 1)).astype(np.int64) + grade * np.int64(_LEVELS)
    order = np.argsort(keys * (3 * _LEVELS) + blame, kind="stable")
    sorted_keys = keys[order]
    first = np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]])
    return order[first]


def near(asked: np.ndarray, known: np.ndarray, reach: float) -> np.ndarray:
    """(N,) bool: which of the (N, 3) float32 points have one of the (M, 3) known ones within about
    `reach`."""
    keys, side = _grid(np.concatenate([asked, known]), reach / 2)
    return _has_neighbor(keys[: len(asked)], keys[len(asked) :], side)


def _grid(xyz: np.ndarray, cell: float) -> tuple[np.ndarray, int]:
    """(N,) int64 row-major cell numbers and the grid's side, with an empty cell all around."""
    low = [float(xyz[:, axis].min()) for axis in range(3)]
    extent = max(float(xyz[:, axis].max()) - low[axis] for axis in range(3))
    cell = max(cell, extent / 30_000)  # three coordinates and the blame share 63 bits
    side = int(extent / cell) + 4
    keys = np.zeros(len(xyz), np.int64)
    for axis in range(3):
        keys *= side
        keys += ((xyz[:, axis] - low[axis]) / cell).astype(np.int64) + 1
    return keys, side


def _has_neighbor(asked: np.ndarray, known: np.ndarray, side: int) -> np.ndarray:
    """(N,) bool: whether any of the 27 cells around each of the (N,) `asked` is among the `known` ones."""
    cells, back = np.unique(asked, return_inverse=True)
    rows = [cells + (x * side + y) * side - 1 for x in (-1, 0, 1) for y in (-1, 0, 1)]
    some_of_three = _in_table if side**3 <= _TABLE else _in_order
    return np.any([found for found in some_of_three(rows, known, side)], axis=0)[back]


def _in_table(first: list[np.ndarray], known: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Whether a cell or one of the next two, along z, is among the known ones: by a table of all cells."""
    table = np.zeros(side**3, bool)
    table[known] = True
    return (table[cell] | table[cell + 1] | table[cell + 2] for cell in first)


def _in_order(first: list[np.ndarray], known: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """The same by searching: for grids too large for a table."""
    known = np.unique(known)
    for cell in first:
        at = np.searchsorted(known, cell).clip(max=len(known) - 1)
        yield (known[at] >= cell) & (known[at] <= cell + 2)
