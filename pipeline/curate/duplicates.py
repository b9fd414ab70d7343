"""Near-duplicates: models that look alike and whose surfaces agree.

Candidates are the nearest neighbors by features, so the work grows with the number of models; a pair counts
if their clouds agree too, in place and in color. A recolored chair stays; a scaled, re-exported or turned one
does not. Equal source files always count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from fuse.dataset.splits import surface_gap
from pipeline.curate.rules import Rules

_NEIGHBORS = 16  # candidates per model
_QUARTERS = 4
_SPREAD = 0.05  # what one surface's samples differ by stays below 0.025: most pairs, most turns end here
Pair = tuple[int, int]


@dataclass(frozen=True)
class Probe:
    """What is compared of a model."""

    feature: np.ndarray  # (F,) float16, of unit length
    points: np.ndarray  # (PROBE, 3) float16 or fewer, normalized
    colors: np.ndarray  # (PROBE, 3) uint8, unlit

    @cached_property
    def spread(self) -> np.ndarray:
        """(3,) float32: the points' singular values, which no turn changes."""
        xyz = self.points.astype(np.float32)
        return np.linalg.svd(xyz - xyz.mean(0), compute_uv=False) / np.sqrt(max(1, len(xyz)))

    @cached_property
    def extent(self) -> np.ndarray:
        """(3,) float32: the points' standard deviations along x, y and z."""
        return self.points.astype(np.float32).std(0)


def similar_pairs(places: np.ndarray, similar: float) -> list[Pair]:
    """The candidates among (N, D) places: pairs of indices, the lower first, whose cosine may be `similar`.

    Between vectors of unit length, distance^2 = 2 - 2 cosine; principal components only shorten it.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(places) < 2:
        return []
    search = NearestNeighbors(n_neighbors=min(_NEIGHBORS + 1, len(places)), algorithm="brute").fit(places)
    distances, found = search.kneighbors(places)
    near = distances <= np.sqrt(2 - 2 * similar) + 1e-4
    rows, columns = np.nonzero(near)
    pairs = np.sort(np.stack([rows, found[rows, columns]], 1), axis=1)
    return [(int(i), int(j)) for i, j in np.unique(pairs, axis=0) if i != j]


def same_content(sources: Sequence[tuple[str, str]]) -> Iterator[Pair]:
    """Pairs of equal files; `sources` are hash and name. Of an archive, equal names only."""
    first: dict[tuple[str, str], int] = {}
    for index, (sha256, name) in enumerate(sources):
        known = first.setdefault((sha256, name.lower().partition(".zip/")[2]), index) if sha256 else index
        if known != index:
            yield known, index


def alike(a: Probe, b: Probe, rules: Rules) -> bool:
    """Whether two models look alike, and their clouds are of one surface in the same colors, turned by
    quarters about z."""
    if float(a.feature.astype(np.float32) @ b.feature.astype(np.float32)) < rules.similar:
        return False
    apart = _SPREAD * rules.spacings
    if np.abs(a.spread - b.spread).max() > apart:
        return False
    turned = (replace(b, points=_turned(b.points, quarter)) for quarter in range(_QUARTERS))
    return any(
        np.abs(a.extent - one.extent).max() <= apart
        and surface_gap(a.points, one.points) <= rules.spacings
        and color_gap(a, one) <= rules.levels
        for one in turned
    )


def color_gap(a: Probe, b: Probe) -> float:
    """The mean difference of the colors of nearest points, in levels of 255."""
    nearest = KDTree(b.points.astype(np.float32)).query(a.points.astype(np.float32))[1]
    return float(np.abs(a.colors.astype(np.int16) - b.colors[nearest].astype(np.int16)).mean())


def joining(
    candidates: Sequence[Pair], known: Sequence[Pair], agree: Callable[[int, int], bool]
) -> list[Pair]:
    """The known pairs and the candidates that `agree`, as far as they join what is not joined yet."""
    sets = DisjointSet({index for pair in (*candidates, *known) for index in pair})
    for i, j in known:
        sets.merge(i, j)
    found = [(i, j) for i, j in candidates if not sets.connected(i, j) and agree(i, j) and sets.merge(i, j)]
    return [*known, *found]


def groups(count: int, pairs: Sequence[Pair]) -> list[list[int]]:
    """The groups of two and more that the pairs join among `count` models."""
    links = np.array(pairs, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(links)), links.T), (count, count))
    _, labels = connected_components(graph, directed=False)
    found: dict[int, list[int]] = {}
    for index in sorted({index for pair in pairs for index in pair}):
        found.setdefault(int(labels[index]), []).append(index)
    return list(found.values())


def _turned(xyz: np.ndarray, quarters: int) -> np.ndarray:
    """(N, 3) turned about z."""
    for _ in range(quarters):
        xyz = xyz[:, [1, 0, 2]] * np.array([-1, 1, 1], xyz.dtype)
    return xyz
