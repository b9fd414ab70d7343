"""One model of a dataset as a file for other tools: a PLY, a Point-E npz, a picture, or a NeRF folder."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fuse.dataset.layout import Layout, open_dataset
from fuse.dataset.manifest import read_manifest
from fuse.dataset.names import is_name
from fuse.dataset.ownership import refuse_links_in
from fuse.dataset.shard import OPENNESS, SCHEMA, Row, Shard, decode, decode_normal
from fuse.export.nerf import POINTS, write_nerf
from fuse.preview.cutaway import draw_inside, draw_layers
from render.bundle import Bundle
from render.failures import UserError

LABELS = ("outside", "hidden", "solid")
Wanted = Literal["outside", "hidden", "solid", "all"]
_COLUMNS = ["uid"] + [name for name in SCHEMA.names if name.startswith(tuple(f"{kind}_" for kind in LABELS))]
_SOLID_GRAY = 128  # solids have no color


class ExportError(UserError):
    """What was asked for is not in the dataset; the message suggests similar names."""


def export(out: Path, uid: str, to: Path, albedo: bool = False, points: Wanted = "outside") -> Path:
    """Write the model `uid` (its uid or its source path) of the dataset `out` to `to`; return `to`.

    If `to` ends in .ply, it gets colored points with normals; in .npz, Point-E's format; in .png, pictures of
    the cloud, of its hidden points and of both cut open; otherwise it is a folder and gets the unzipped view
    bundle as NeRF and splatting tools read it, and `pictures/` of its layers. `albedo` selects unlit colors;
    hidden points always have those. With `points` "all", each has a label: 0 outside, 1 hidden, 2 solid.
    A PLY has openness too, where the shard has it; that of solid points is 0.
    """
    layout, kind = open_dataset(out), to.suffix.lower()
    if kind not in (".ply", ".npz", ".png", ""):
        raise ExportError(f"{to}: cannot write {kind}. Name a .ply, .npz or .png file, or a folder.")
    if kind == "":
        return _export_views(layout, uid, to)
    row = find_row(layout, uid)
    to.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".png":
        draw_inside(*points_of(row, "outside", albedo)[:2], *points_of(row, "hidden", albedo)[:2]).save(to)
        return to
    kinds = LABELS if points == "all" else (points,)
    parts = [points_of(row, name, albedo) for name in kinds]
    xyz, rgb, normal = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(xyz):
        raise ExportError(f"{out}: {uid} has no {points} points.")
    label = np.repeat([LABELS.index(name) for name in kinds], [len(part[0]) for part in parts])
    label = label.astype(np.uint8) if points == "all" else None
    if kind == ".ply":
        write_ply(to, xyz, rgb, normal, label, _openness(row, kinds))
    else:
        write_point_e(to, xyz, rgb, label)
    return to


def _openness(row: Row, kinds: Sequence[str]) -> np.ndarray | None:
    """(N,) uint8 openness of all points of the kinds, 0 for solid ones; None where the shard has none."""
    if OPENNESS[0] not in row:
        return None
    solid = np.zeros(len(decode(row, "solid_xyz")), np.uint8)
    return np.concatenate([solid if kind == "solid" else decode(row, f"{kind}_openness") for kind in kinds])


def points_of(row: Row, kind: str, albedo: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 3) float32 points, (N, 3) uint8 colors and (N, 3) float32 normals of one kind; solids' are 0."""
    xyz = decode(row, f"{kind}_xyz")
    if kind == "solid":
        return xyz, np.full(xyz.shape, _SOLID_GRAY, np.uint8), np.zeros(xyz.shape, np.float32)
    lit = kind == "outside" and not albedo
    return (
        xyz,
        decode(row, f"{kind}_{'rgb' if lit else 'albedo'}"),
        decode_normal(decode(row, f"{kind}_normal")),
    )


def _export_views(layout: Layout, uid: str, folder: Path) -> Path:
    """Unzip a bundle as NeRF tools want it, with its cloud if it has one, and draw its views' layers."""
    refuse_links_in(folder)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    with Bundle(_bundle_path(layout, uid)) as bundle:
        bundle.extract(folder)
        row = _row(layout, bundle.meta["uid"])
        write_nerf(folder, bundle, has_points=row is not None)
        for number, view in enumerate(bundle.views()):
            draw_layers(view).save(pictures / f"{number:03d}.png")
    if row is not None:
        write_ply(folder / POINTS, *points_of(row, "outside", albedo=False))
    return folder


def write_ply(
    path: Path,
    xyz: np.ndarray,
    rgb: np.ndarray,
    normal: np.ndarray | None = None,
    label: np.ndarray | None = None,
    openness: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> None:
    """Write (N, 3) float32 points, (N, 3) uint8 colors, optional (N, 3) float32 normals, (N,) uint8 labels,
    (N,) uint8 openness and (N,) bool `seen` as binary PLY."""
    columns = [(name, "<f4", xyz[:, i]) for i, name in enumerate("xyz")]
    if normal is not None:
        columns += [(f"n{name}", "<f4", normal[:, i]) for i, name in enumerate("xyz")]
    columns += [(name, "u1", rgb[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    extra = {"label": label, "openness": openness, "seen": seen}
    columns += [(name, "u1", values) for name, values in extra.items() if values is not None]
    vertices = np.empty(len(xyz), [(name, dtype) for name, dtype, _ in columns])
    for name, _, values in columns:
        vertices[name] = values
    kinds = {"<f4": "float", "u1": "uchar"}
    properties = "".join(f"property {kinds[dtype]} {name}\n" for name, dtype, _ in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(xyz)}\n{properties}end_header\n"
    path.write_bytes(header.encode() + vertices.tobytes())


def write_point_e(
    path: Path,
    xyz: np.ndarray,
    rgb: np.ndarray,
    label: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> None:
    """Write (N, 3) float32 points and (N, 3) uint8 colors for Point-E's `PointCloud.load`: `coords`, in its
    frame, which is ours halved, and R, G, B in 0..1. (N,) labels and (N,) bool `seen` become channels.
    """
    channels = {name: rgb[:, i].astype(np.float32) / 255 for i, name in enumerate("RGB")}
    more = {"label": label, "seen": seen}
    channels |= {name: values.astype(np.float32) for name, values in more.items() if values is not None}
    with path.open("wb") as file:  # given a path, np.savez would add a second suffix to some names
        np.savez(file, coords=xyz.astype(np.float32) / 2, **channels)


def find_row(layout: Layout, uid: str, columns: Sequence[str] | None = _COLUMNS) -> Row:
    """The points of the model whose uid or source path is `uid`, or other columns; None: all."""
    row = _row(layout, uid, columns)
    if row is None:
        raise _unknown(uid, layout, [name for each in _entries(layout) for name in (each.uid, each.source)])
    return row


def _row(layout: Layout, uid: str, columns: Sequence[str] | None = _COLUMNS) -> Row | None:
    for entry in _entries(layout):
        if uid in (entry.uid, entry.source):
            with Shard(layout.shard(entry.file)) as shard:
                held = columns and [name for name in columns if name in shard.schema.names]
                return next(row for row in shard.rows(held, [entry.group]) if row["uid"] == entry.uid)
    return None


@dataclass(frozen=True)
class _Entry:
    """The place of a row."""

    uid: str
    source: str
    file: str
    group: int


def _entries(layout: Layout) -> Iterator[_Entry]:
    for part in read_manifest(layout.clouds):
        with Shard(layout.shard(part.file)) as shard:
            for group in range(shard.row_groups):
                for row in shard.rows(["uid", "source"], [group]):
                    yield _Entry(row["uid"], row["source"], part.file, group)


def _bundle_path(layout: Layout, uid: str) -> Path:
    """The bundle of a uid or, through the shards, of a source path."""
    names = [uid] if is_name(uid) else []
    for name in (*names, *(entry.uid for entry in _entries(layout) if entry.source == uid)):
        path = layout.bundle(name)
        if path.exists():
            return path
    raise _unknown(uid, layout, [name for name, _ in layout.bundles()])


def _unknown(uid: str, layout: Layout, names: list[str]) -> ExportError:
    near = difflib.get_close_matches(uid, names, 3, 0.4) or [name for name in names if uid in name][:3]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {len(names)} names, none like it."
    return ExportError(f"{layout.root}: no model {uid!r}. {hint}")
