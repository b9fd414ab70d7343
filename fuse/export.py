"""One model out of a dataset, as a file that other tools open: a PLY, a Point-E npz, or a NeRF folder."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuse.manifest import read_manifest
from fuse.shard import Row, Shard, decode, decode_normal
from render.bundle import Bundle

_POINTS = ["uid", "outside_xyz", "outside_rgb", "outside_albedo", "outside_normal"]


class ExportError(ValueError):
    """What was asked for is not in the dataset; the message names what is near it."""


def export(out: Path, uid: str, to: Path, albedo: bool = False) -> Path:
    """Write the model `uid` (its uid or its source path) of the dataset `out` to `to`; return `to`.

    `to` ends in .ply: coloured points with normals; in .npz: Point-E's format; else it is a folder, and gets
    the unzipped view bundle, which NeRF tools read. `albedo` takes unlit colours in place of lit ones.
    """
    kind = to.suffix.lower()
    if kind not in (".ply", ".npz", ""):
        raise ExportError(f"{to}: cannot write {kind}. Name a .ply, an .npz, or a folder.")
    if kind == "":
        path = _bundle_path(out, uid)
        to.mkdir(parents=True, exist_ok=True)
        with Bundle(path) as bundle:
            bundle.extract(to)
        return to
    row = find_row(out, uid)
    xyz, rgb = decode(row, "outside_xyz"), decode(row, "outside_albedo" if albedo else "outside_rgb")
    to.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".ply":
        write_ply(to, xyz, rgb, decode_normal(decode(row, "outside_normal")))
    else:
        write_point_e(to, xyz, rgb)
    return to


def write_ply(
    path: Path,
    xyz: np.ndarray,
    rgb: np.ndarray,
    normal: np.ndarray | None = None,
    hidden: np.ndarray | None = None,
) -> None:
    """(N, 3) points, (N, 3) uint8 colours, perhaps (N, 3) normals and (N,) labels, as binary PLY."""
    columns = [(name, "<f4", xyz[:, i]) for i, name in enumerate("xyz")]
    if normal is not None:
        columns += [(f"n{name}", "<f4", normal[:, i]) for i, name in enumerate("xyz")]
    columns += [(name, "u1", rgb[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    columns += [("hidden", "u1", hidden)] if hidden is not None else []
    vertices = np.empty(len(xyz), [(name, dtype) for name, dtype, _ in columns])
    for name, _, values in columns:
        vertices[name] = values
    kinds = {"<f4": "float", "u1": "uchar"}
    properties = "".join(f"property {kinds[dtype]} {name}\n" for name, dtype, _ in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(xyz)}\n{properties}end_header\n"
    path.write_bytes(header.encode() + vertices.tobytes())


def write_point_e(path: Path, xyz: np.ndarray, rgb: np.ndarray, hidden: np.ndarray | None = None) -> None:
    """Point-E's `PointCloud.load` format: `coords`, and R, G, B in 0..1; its frame is ours halved.

    A label becomes one more channel, `hidden`, 0 or 1.
    """
    channels = {name: rgb[:, i].astype(np.float32) / 255 for i, name in enumerate("RGB")}
    channels |= {"hidden": hidden.astype(np.float32)} if hidden is not None else {}
    with path.open("wb") as file:  # np.savez would add a second suffix to some names
        np.savez(file, coords=xyz.astype(np.float32) / 2, **channels)


def find_row(out: Path, uid: str) -> Row:
    """The points of the model whose uid or source path is `uid`."""
    entries = list(_entries(out))
    for entry in entries:
        if uid in (entry.uid, entry.source):
            with Shard(out / "clouds" / entry.file) as shard:
                return next(row for row in shard.rows(_POINTS, [entry.group]) if row["uid"] == entry.uid)
    raise _unknown(uid, out, [name for entry in entries for name in (entry.uid, entry.source)])


@dataclass(frozen=True)
class _Entry:
    """Where a row stands."""

    uid: str
    source: str
    file: str
    group: int


def _entries(out: Path) -> Iterator[_Entry]:
    for part in read_manifest(out / "clouds"):
        with Shard(out / "clouds" / part.file) as shard:
            for group in range(shard.row_groups):
                for row in shard.rows(["uid", "source"], [group]):
                    yield _Entry(row["uid"], row["source"], part.file, group)


def _bundle_path(out: Path, uid: str) -> Path:
    """The bundle of a uid or, through the shards, of a source path."""
    for name in (uid, *(entry.uid for entry in _entries(out) if entry.source == uid)):
        path = out / "views" / hashlib.sha256(name.encode()).hexdigest()[:2] / f"{name}.zip"
        if path.exists():
            return path
    raise _unknown(uid, out, [path.stem for path in (out / "views").glob("*/*.zip")])


def _unknown(uid: str, out: Path, names: list[str]) -> ExportError:
    near = difflib.get_close_matches(uid, names, 3, 0.4) or [name for name in names if uid in name][:3]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {len(names)} names, none like it."
    return ExportError(f"{out}: no model {uid!r}. {hint}")
