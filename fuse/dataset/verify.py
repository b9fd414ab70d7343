"""Is a dataset folder whole? Recomputes every hash and checks every row and every bundle.

    report = verify(Path("OUT"))
    print(report)  # one line per finding: the file, what is wrong, the remedy

Finds flipped bytes, truncated files, missing shards, shards that the manifest does not name, and rows that
break the contract of `fuse.dataset.shard`. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuse.dataset import storage
from fuse.dataset.description import read_description
from fuse.dataset.layout import MANIFEST, Layout, open_dataset
from fuse.dataset.manifest import Part, read_manifest, sha256_of
from fuse.dataset.shard import (
    OPENNESS,
    Row,
    Shard,
    decode,
    decode_normal,
    image_column,
    interior_column,
    layers_column,
    open_png,
)
from render.bundle import REMEDY as BUNDLE_REMEDY
from render.bundle import Bundle, BundleError
from render.failures import DAMAGE, UserError, printable

SLACK = 1e-3  # how far outside the box depth's 16 bits may put a point
REPACK = f"Delete it and its line in the {MANIFEST} beside it, then run `insideout fuse` again."
RENDER = "Delete it, then run `insideout render` again."
_ORDER_PROBES = 64  # leading points whose farthest-point order is checked; each costs a pass over the cloud


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file."""

    file: str  # relative to the dataset folder
    problem: str
    remedy: str

    def __str__(self) -> str:
        return printable(f"{self.file}: {self.problem}. {self.remedy}")


@dataclass
class Report:
    """What was checked and what was found."""

    parts: int = 0
    rows: int = 0
    bundles: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.findings

    def __str__(self) -> str:
        counts = f"{self.parts} parts with {self.rows} rows, {self.bundles} bundles"
        verdict = "no fault found" if self.ok else f"{len(self.findings)} faults"
        return "\n".join([*map(str, self.findings), f"{counts}: {verdict}"])


def verify(out: Path, bundles: bool = True) -> Report:
    """Check the shards of a dataset folder and, with `bundles`, its view bundles."""
    report, layout = Report(), open_dataset(out)
    try:
        read_description(layout)
    except UserError as error:
        report.findings.append(Finding(_name(layout.dataset, layout), str(error), "See above."))
    report.findings += [Finding(name, "not a file", "Remove it.") for name in _no_files(layout)]
    _verify_clouds(layout, report)
    for name in sorted(entry.name for _, entry in layout.bundles()) if bundles else ():
        report.bundles += 1
        path = layout.views / name
        report.findings += [Finding(_name(path, layout), p, RENDER) for p in bundle_problems(path)]
    return report


def _no_files(layout: Layout) -> Iterator[str]:
    """What stands among the bundles and shards and is no file: FIFOs, devices, links that lead nowhere."""
    if storage.is_local(layout.root):
        for path in sorted((*layout.views.glob("*/*"), *layout.clouds.glob("*"))):
            if not path.is_file() and path != layout.staging:
                yield _name(path, layout)


def _verify_clouds(layout: Layout, report: Report) -> None:
    try:
        parts = read_manifest(layout.clouds)
    except UserError as error:
        report.findings.append(Finding(_name(layout.manifest, layout), str(error), "See above."))
        return
    for file in sorted(layout.shards() - {part.file for part in parts}):
        name = _name(layout.shard(file), layout)
        remedy = "Delete it, or run `insideout fuse` again."
        report.findings.append(Finding(name, "not named in the manifest", remedy))
    seen: dict[str, str] = {}
    for part in parts:
        report.parts += 1
        name = _name(layout.shard(part.file), layout)
        report.findings += [Finding(name, p, REPACK) for p in _part_problems(layout, part, seen, report)]


def _part_problems(layout: Layout, part: Part, seen: dict[str, str], report: Report) -> Iterator[str]:
    """What is wrong with one shard. `seen` maps every uid so far to its shard."""
    path = layout.shard(part.file)
    if not path.exists():
        yield "missing, though the manifest names it"
        return
    size = path.stat().st_size
    if size != part.bytes:
        yield f"truncated or grown: {size} bytes, the manifest says {part.bytes}"
        return
    if sha256_of(path) != part.sha256:
        yield "damaged: its SHA-256 differs from the manifest's"
        return
    try:
        with Shard(path) as shard:
            yield from _footer_problems(shard, part)
            for row in shard.rows():
                report.rows += 1
                yield from _identity_problems(row["uid"], part.file, seen)
                yield from (f"row {row['uid']}: {problem}" for problem in row_problems(row, shard.views))
    except UserError as error:
        yield str(error)


def _footer_problems(shard: Shard, part: Part) -> Iterator[str]:
    uids = shard.uids()
    said = (part.rows, part.row_groups, part.first_uid, part.last_uid, part.config_hash)
    ends = (uids[0], uids[-1]) if uids else (None, None)
    found = (len(uids), shard.row_groups, *ends, shard.footer.get("insideout.config_hash"))
    names = ("rows", "row groups", "first uid", "last uid", "configuration hash")
    for name, is_, should in zip(names, found, said, strict=True):
        if is_ != should:
            yield f"{name} {is_!r}, the manifest says {should!r}"


def _identity_problems(uid: str, file: str, seen: dict[str, str]) -> Iterator[str]:
    if uid in seen:
        yield f"row {uid}: already in {seen[uid]}"
    seen[uid] = file


def row_problems(row: Row, views: int) -> Iterator[str]:
    """What breaks the contract in one row of a shard with `views` views."""
    try:
        for kind, names in _ARRAYS.items():
            for name in (name for name in names if name in row or name not in OPENNESS):
                found = len(decode(row, name))
                if found != row[f"n_{kind}"]:
                    yield f"{name} has {found} points, n_{kind} says {row[f'n_{kind}']}"
            yield from _point_problems(f"{kind}_xyz", decode(row, f"{kind}_xyz"))
        for name in ("outside_normal", "hidden_normal"):
            yield from _normal_problems(name, decode(row, name))
        for kind in _ARRAYS:
            yield from _order_problems(f"{kind}_xyz", decode(row, f"{kind}_xyz"))
    except ValueError as error:
        yield f"an array cannot be read ({error})"
    if row["n_outside"] == 0:
        yield "no outside points"
    if len(row["cameras"]) != views:
        yield f"{len(row['cameras'])} cameras for {views} images"
    yield from _image_problems(row, views)


_ARRAYS = {
    "outside": ("outside_xyz", "outside_rgb", "outside_albedo", "outside_normal", "outside_openness"),
    "hidden": ("hidden_xyz", "hidden_albedo", "hidden_normal", "hidden_layer", "hidden_openness"),
    "solid": ("solid_xyz",),
}


def _point_problems(name: str, xyz: np.ndarray) -> Iterator[str]:
    if not np.isfinite(xyz).all():
        yield f"{name} is not finite"
    elif len(xyz) and np.abs(xyz).max() > 1 + SLACK:
        yield f"{name} reaches {np.abs(xyz).max():.4f}, outside the box of -1 to 1"
    if len(np.unique(xyz, axis=0)) != len(xyz):
        yield f"{name} repeats points"


def _normal_problems(name: str, code: np.ndarray) -> Iterator[str]:
    length = np.linalg.norm(code.astype(np.float32), axis=1) / 127
    if len(code) and (np.abs(length - 1).max() > 0.02 or not np.isfinite(decode_normal(code)).all()):
        yield f"{name} has lengths from {length.min():.3f} to {length.max():.3f}, not 1"


def _order_problems(name: str, xyz: np.ndarray) -> Iterator[str]:
    """Each of the first points must be the one farthest from all points before it."""
    nearest = np.full(len(xyz), np.inf)
    for pick in range(min(_ORDER_PROBES, len(xyz))):
        if np.sqrt(nearest[pick]) < np.sqrt(nearest.max()) * (1 - 1e-4):
            yield f"{name} is not in farthest-point order at point {pick}"
            return
        nearest = np.minimum(nearest, ((xyz.astype(np.float64) - xyz[pick]) ** 2).sum(1))


def _image_problems(row: Row, views: int) -> Iterator[str]:
    sizes = set()
    kinds = (image_column, interior_column, layers_column)
    names = [kind(view) for kind in kinds for view in range(views)]
    # a view without a mask has an empty one, and rows of the older schema have none
    for name in (name for name in names if name.startswith("image_") or row.get(name)):
        try:
            with open_png(row[name]) as image:
                image.load()
                sizes.add(image.size)
        except (OSError, *DAMAGE) as error:
            yield f"{name}: {error}"
    if len(sizes) > 1 or any(width != height for width, height in sizes):
        yield f"images of sizes {sorted(sizes)}, not square and of one size"


def bundle_problems(path: Path) -> Iterator[str]:
    """What is wrong with one view bundle: damaged members, missing images, the wrong folder."""
    try:
        with Bundle(path) as bundle:
            bundle.check()
            uid = bundle.meta["uid"]
    except BundleError as error:
        yield str(error).removeprefix(f"{path}: ").removesuffix(f". {BUNDLE_REMEDY}")
        return
    if uid != path.stem:
        yield f"holds the model {uid!r}"
    elif f"{path.parent.name}/{path.name}" != Layout.bundle_name(uid):
        yield f"lies in folder {path.parent.name}, not in its uid's"


def _name(path: Path, layout: Layout) -> str:
    return path.relative_to(layout.root).as_posix()
