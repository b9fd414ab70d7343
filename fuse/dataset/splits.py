"""The split of each model: all that shows one object lies on one side.

    members = read_members(layout, parts, staged)
    splits = decide(members, validation=0.05, test=0.1)     # {uid: "train" | "validation" | "test"}

Rows belong to one object if

- their source files have the same bytes (in an archive: of the same name in equal archives),
- their files lie in one folder and have one name but for case, extension and level of detail: `chair.obj`,
  `Chair.glb`, `chair_LOD1.obj`, or
- their clouds are two samples of one surface, in the same position: their singular values agree, and the
  Chamfer distance of their first points is that of two such samples, about half the points' spacing.

A row keeps the split that it has, from the input list's column `split` or since it was packed. The others of
its object follow it; where none has one, the first uid decides, by its hash.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from fuse.config import SPLITS
from fuse.dataset import storage
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import Part
from fuse.dataset.shard import Row, Shard, decode

UNDECIDED = ""
"""The split of a staged row until it is packed."""
PROBE = 512
"""Points of a cloud that are compared: its first ones, a farthest-point sample."""
_ALIKE = 0.008  # difference of singular values; 4,096 points of one surface differ by up to 0.005
_NEAR = 16  # members of the nearest singular values that are compared, which bounds the work
_SPACINGS = 0.52  # Chamfer distance in spacings: 0.39 to 0.50 for two samples of one surface
_LEVEL = re.compile(r"[ _.-]*lod[ _-]?\d+$")
_COLUMNS = ["uid", "source", "source_sha256", "split", "quality", "outside_xyz"]


class Member(NamedTuple):
    """What a row's split depends on."""

    uid: str
    source: str
    sha256: str
    split: str
    singular_values: Sequence[float]  # 3
    points: np.ndarray  # (PROBE, 3) float16 or fewer, normalized


def read_members(layout: Layout, parts: Sequence[Part], staged: Collection[str]) -> list[Member]:
    """The rows of all shards and the staged ones, ordered by uid."""
    paths = [layout.shard(part.file) for part in parts]
    paths += [layout.staged_row(uid) for uid in sorted(staged)]
    return sorted(itertools.chain.from_iterable(storage.in_parallel(_members, paths)), key=lambda m: m.uid)


def decide(members: Sequence[Member], validation: float, test: float) -> dict[str, str]:
    """The split of every undecided member; the shares are of all objects."""
    splits = {}
    for some in objects(members):
        taken = {member.split for member in some} - {UNDECIDED}
        # An object that a list has put on several sides: more of it in training leaks nothing new.
        found = next((split for split in (*SPLITS, *sorted(taken)) if split in taken), None)
        split = found or split_of(some[0].uid, validation, test)
        splits |= {member.uid: split for member in some if member.split == UNDECIDED}
    return splits


def split_of(uid: str, validation: float, test: float = 0) -> str:
    """The split of an object by its first uid: `validation` and `test` for those shares of all uids."""
    number = int.from_bytes(hashlib.sha256(f"split\0{uid}".encode()).digest()[:8], "big") / 2**64
    return "validation" if number < validation else "test" if number < validation + test else "train"


def folds(members: Sequence[Member], count: int) -> dict[str, int]:
    """The fold of every member, 0 to count - 1, by the hash of its object's first uid: {uid: fold}."""
    return {member.uid: _fold_of(some[0].uid, count) for some in objects(members) for member in some}


def _fold_of(uid: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(f"fold\0{uid}".encode()).digest()[:8], "big") % count


def objects(members: Sequence[Member]) -> list[list[Member]]:
    """The members by object, in their order."""
    edges = [*_same(members, _content), *_same(members, _name), *_same_surface(members)]
    links = np.array(edges, np.int64).reshape(-1, 2)
    shape = (len(members), len(members))
    _, labels = connected_components(coo_matrix((np.ones(len(links)), links.T), shape), directed=False)
    found: dict[int, list[Member]] = {}
    for label, member in zip(labels.tolist(), members, strict=True):
        found.setdefault(label, []).append(member)
    return list(found.values())


def _members(path: Path) -> list[Member]:
    with Shard(path) as shard:
        return [_member(row) for row in shard.rows(_COLUMNS)]


def _member(row: Row) -> Member:
    values, points = row["quality"]["singular_values"], decode(row, "outside_xyz")[:PROBE]
    return Member(
        row["uid"], row["source"], row["source_sha256"], row["split"], values, points.astype(np.float16)
    )


def _same(members: Sequence[Member], key: Callable[[Member], Hashable]) -> Iterator[tuple[int, int]]:
    """Every member with the first of the same key."""
    first: dict[Hashable, int] = {}
    for index, member in enumerate(members):
        yield first.setdefault(key(member), index), index


def _content(member: Member) -> Hashable:
    """The hash of its source; a file in an archive has the archive's."""
    return member.sha256 or member.uid, member.source.lower().partition(".zip/")[2]


def _name(member: Member) -> Hashable:
    """Its folder, and its name without extension and level of detail."""
    folder, _, file = member.source.rpartition("/")
    return folder, _LEVEL.sub("", file.rpartition(".")[0].casefold() or file.casefold())


def _same_surface(members: Sequence[Member]) -> Iterator[tuple[int, int]]:
    """The pairs whose clouds are samples of one surface."""
    values = np.array([member.singular_values for member in members], np.float64).reshape(-1, 3)
    found = KDTree(values).query(values, min(_NEAR, len(values)), p=np.inf, distance_upper_bound=_ALIKE)
    neighbors = np.reshape(found[1], (len(values), -1)).tolist()
    for i, j in sorted({(min(i, j), max(i, j)) for i, some in enumerate(neighbors) for j in some}):
        if i < j < len(values) and same_surface(members[i].points, members[j].points):
            yield i, j


def same_surface(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two farthest-point samples, (N, 3) and (M, 3), lie as close as if they were of one surface."""
    return surface_gap(a, b) <= _SPACINGS


def surface_gap(a: np.ndarray, b: np.ndarray) -> float:
    """The Chamfer distance of two farthest-point samples, (N, 3) and (M, 3), in spacings of their points."""
    first, second = a.astype(np.float32), b.astype(np.float32)
    trees = KDTree(first), KDTree(second)
    gap = (trees[0].query(second)[0].mean() + trees[1].query(first)[0].mean()) / 2
    spacing = min(np.median(tree.query(tree.data, 2)[0][:, -1]) for tree in trees)
    return float(gap / spacing) if spacing else 0.0 if gap == 0 else np.inf
