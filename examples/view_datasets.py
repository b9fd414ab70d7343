"""The datasets of several_views.py and merger.py: what is of one family, and copies with other splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial import KDTree

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import decode, read_rows, write_shard
from training.scores.distances import chamfer

ALIKE = 0.03
"""Chamfer distance, of all points, below which two objects count as one family."""
TRIED = 16
"""Objects whose distance is computed: the nearest by their first points."""
Clouds = dict[str, np.ndarray]
"""(N, 3) by uid."""


def alike(clouds: Path) -> set[str]:
    """Held-out objects that are of one family with a training object."""
    held_out = clouds_of(clouds, lambda row: row["split"] != "train")
    return {uid for uid, _ in families(held_out, clouds_of(clouds, lambda row: row["split"] == "train"))}


def clouds_of(clouds: Path, chosen: Callable[[dict[str, Any]], bool]) -> Clouds:
    """All outside points of the chosen rows."""
    columns = ["uid", "split", "source_sha256", "outside_xyz"]
    rows = (row for part in read_manifest(clouds) for row in read_rows(clouds / part.file, columns))
    return {row["uid"]: decode(row, "outside_xyz") for row in rows if chosen(row)}


def families(these: Clouds, those: Clouds) -> list[tuple[str, str]]:
    """Pairs of uids whose clouds are within `ALIKE`."""
    rough, found = [(uid, KDTree(cloud[:128])) for uid, cloud in those.items()], []
    for uid, cloud in these.items():
        gaps = [tree.query(cloud[:128])[0].mean() for _, tree in rough]
        near = [rough[i][0] for i in np.argsort(gaps)[:TRIED]]
        found += [(uid, other) for other in near if chamfer(cloud, those[other]) < ALIKE]
    return found


def subset(data: Path, out: Path, models: int) -> Path:
    """The dataset, or a copy in which only its first `models` training rows are of the split `train`."""
    if not models:
        return data
    training = clouds_of(Layout(data).clouds, lambda row: row["split"] == "train")
    return copied(data, out / f"first-{models}", {uid: "train" for uid in list(training)[:models]})


def apart(data: Path, other: Path, out: Path) -> Path:
    """A copy in which the held-out objects of another dataset are held out and all others of `train`.

    Those that are of one family with a held-out one are left out.
    """
    target = out / "apart"
    if read_manifest(Layout(target).clouds):  # it is written last
        return target
    held = {
        row["source_sha256"]
        for part in read_manifest(Layout(other).clouds)
        for row in read_rows(Layout(other).clouds / part.file, ["split", "source_sha256"])
        if row["split"] == "validation"
    }
    clouds = Layout(data).clouds
    held_out = clouds_of(clouds, lambda row: row["source_sha256"] in held)
    others = clouds_of(clouds, lambda row: row["source_sha256"] not in held)
    leaked = {uid for _, uid in families(held_out, others)}
    print(f"{len(held_out)} objects held out, {len(leaked)} that nearly repeat one left out")
    splits = dict.fromkeys(held_out, "validation") | dict.fromkeys(others.keys() - leaked, "train")
    return copied(data, target, splits)


def fresh(data: Path, other: Path, out: Path, most: int = 130) -> Path:
    """A copy of objects of another dataset, all held out: up to `most` that a dataset lacks, at random.

    Those that are of one family with any of its objects are left out.
    """
    target = out / "objects"
    if read_manifest(Layout(target).clouds):  # it is written last
        return target
    known = _sources(Layout(data).clouds)
    strange = clouds_of(Layout(other).clouds, lambda row: row["source_sha256"] not in known)
    uids, order = sorted(strange), np.random.default_rng(5).permutation(len(strange))
    some = {uids[i]: strange[uids[i]] for i in order[:most]}
    leaked = {uid for uid, _ in families(some, clouds_of(Layout(data).clouds, lambda row: True))}
    print(f"{len(strange)} other objects; of {len(some)} at random, {len(leaked)} nearly repeat a known one")
    return copied(other, target, dict.fromkeys(some.keys() - leaked, "validation"))


def _sources(clouds: Path) -> set[str]:
    """The hashes of the models that a dataset is of."""
    parts = read_manifest(clouds)
    return {row["source_sha256"] for p in parts for row in read_rows(clouds / p.file, ["source_sha256"])}


def copied(data: Path, target: Path, splits: dict[str, str]) -> Path:
    """A copy of some rows of a dataset, with these splits by uid."""
    layout, parts = Layout(target), []
    layout.clouds.mkdir(parents=True, exist_ok=True)
    for part in read_manifest(Layout(data).clouds):
        whole = pq.read_table(Layout(data).clouds / part.file)
        rows = list(_rows(whole, splits))
        if rows:
            path = layout.clouds / part.file
            write_shard(path, rows, "copied", {}, row_group_mib=16)
            parts.append(describe(path))
    write_manifest(layout.clouds, parts)
    return layout.root


def _rows(whole: pa.Table, splits: dict[str, str]) -> Iterable[pa.Table]:
    at = whole.schema.get_field_index("split")
    for i, uid in enumerate(whole["uid"].to_pylist()):
        if uid in splits:
            yield whole.slice(i, 1).set_column(at, whole.schema.field(at), pa.array([splits[uid]]))
