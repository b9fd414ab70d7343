"""Writes OUT/report: shard by shard, only what changed.

    write_report(Path("OUT"), Options())

    index.html, assets/         the page
    data/overview.js            counts, failures, time and memory
    data/index.js               the columns, and data/columns/NAME.js each of them
    data/curation.js, clusters/ what a curation decided, and a sheet per cluster
    data/runs.js, runs/RUN/     training runs; their sheets of samples
    thumbs/ab/UID.webp          the gallery's pictures
    models/ab/UID.js            what a model's page shows
    done.json                   the shards whose pictures and pages are written, and what they were made of

A killed report continues at the shard where it stopped. The bytes depend on the dataset only.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.resources
import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuse.dataset import ownership, storage
from fuse.dataset.decisions import read_curation
from fuse.dataset.layout import STAGES, Layout, open_dataset
from fuse.dataset.manifest import Part, read_manifest
from fuse.dataset.names import is_name
from fuse.dataset.shard import Shard
from pipeline.output.commit import exclusive
from pipeline.report import model
from pipeline.report.columns import Column, read_columns
from pipeline.report.curation import curation
from pipeline.report.ledgers import read_costs
from pipeline.report.overview import overview
from pipeline.report.runs import read_runs, sheet
from pipeline.report.scripts import script
from render.failures import UserError

_DONE = "done.json"
"""Written into a report's folder before anything else: a folder without it is not a report."""
VERSION = 1
"""Of the content of pictures and pages: with another version, all of them are written again."""


@dataclass(frozen=True)
class Options:
    """How much a report shows."""

    views: int = 6
    """Views on a model's page."""
    pages: int | None = None
    """Models that get a page, the first of the shards; None: all."""
    workers: int = 1
    """Processes."""


@dataclass
class Site:
    """The report's folder. Files are written only where their bytes differ."""

    layout: Layout
    written: int = 0
    kept: int = 0
    bytes: int = 0

    @property
    def root(self) -> Path:
        """The report's folder."""
        return self.layout.report

    def put(self, name: str, data: bytes) -> None:
        """Write a file of the report unless it has these bytes."""
        path = self.root / name
        try:
            same = storage.read_bytes(path) == data
        except FileNotFoundError:
            same = False
        self.kept += same
        if not same:
            storage.publish_bytes(data, path, self.layout.temporary)
            self.written += 1
            self.bytes += len(data)


@dataclass(frozen=True)
class Group:
    """One row group of a shard: what a process writes pictures and pages of."""

    root: Path
    file: str
    number: int
    pages: int
    """How many of its rows, from the first on, get a page."""
    views: int


@dataclass(frozen=True)
class Work:
    """A shard to do, and the key that says what it was made of."""

    part: Part
    key: str
    groups: list[Group] = field(default_factory=list)


def write_report(out: Path, options: Options, say: Callable[[str], None] = lambda text: None) -> Path:
    """Write or complete the report. Returns its page."""
    layout = open_dataset(out)
    with exclusive(layout):
        site = Site(layout)
        _claim(site)
        parts = read_manifest(layout.clouds)
        _write_models(site, parts, options, say)
        costs = {stage: read_costs(layout, stage) for stage in STAGES}
        site.put("data/overview.js", script("overview", overview(layout, parts, costs)))
        curated = read_curation(layout)
        columns = read_columns(layout, parts, costs, curated) if parts else iter(())
        _write_columns(site, columns, parts, options)
        site.put("data/curation.js", script("curation", curation(layout, curated, site.put)))
        _write_runs(site)
        for name, data in assets():
            site.put(name, data)
    say(f"report: {site.written} files written ({site.bytes / 1e6:.1f} MB), {site.kept} unchanged")
    return site.root / "index.html"


def _claim(site: Site) -> None:
    """UserError where files would be written through a link, or into a folder that is no report."""
    if storage.is_local(site.root):
        ownership.refuse_links_in(site.root)
        if site.root.is_dir() and any(site.root.iterdir()) and not (site.root / _DONE).exists():
            raise UserError(f"{site.root}: not a report of ours: it has no {_DONE}. Move it elsewhere.")
    if not _read_done(site):
        site.put(_DONE, _json({}))


def assets() -> Iterator[tuple[str, bytes]]:
    """The page's own files: (name in the report, content)."""
    folder = importlib.resources.files("pipeline.report") / "assets"
    yield "index.html", (folder / "index.html").read_bytes()
    for group in ("app", "vendor"):
        for file in sorted((folder / group).iterdir(), key=lambda file: file.name):
            yield f"assets/{group}/{file.name}", file.read_bytes()


# ---- models ------------------------------------------------------------------------------------------------


def _write_models(site: Site, parts: list[Part], options: Options, say: Callable[[str], None]) -> None:
    """Pictures and pages of every shard that is not done; then remove those of models that are gone."""
    before = _read_done(site)
    sizes = {uid: entry.size for uid, entry in site.layout.bundles()}
    done: dict[str, str] = {}
    uids: set[str] = set()
    todo: list[Work] = []
    for part in parts:
        own, work = _plan(site.layout, part, len(uids), sizes, options)
        uids.update(own)
        if before.get(part.file) == work.key:
            done[part.file] = work.key
        else:
            todo.append(work)
    for number, work in enumerate(_done_one_by_one(todo, options.workers, site), start=1):
        done[work.part.file] = work.key
        site.put(_DONE, _json(done))
        say(f"report: {work.part.file} {number}/{len(todo)}")
    site.put(_DONE, _json(done))
    _remove_gone(site, uids)


def _plan(
    layout: Layout, part: Part, first: int, sizes: dict[str, int], options: Options
) -> tuple[list[str], Work]:
    """A shard's uids and its work. Its key has the shard's hash and the size of every bundle."""
    with Shard(layout.shard(part.file)) as shard:
        uids = [shard.table(group, ["uid"])["uid"].to_pylist() for group in range(shard.row_groups)]
    flat = [uid for group in uids for uid in group]
    pages = len(flat) if options.pages is None else max(0, options.pages - first)
    made_of = [VERSION, part.sha256, min(pages, len(flat)), options.views, [sizes.get(uid) for uid in flat]]
    work = Work(part, hashlib.sha256(_json(made_of)).hexdigest())
    at = 0
    for number, group in enumerate(uids):
        work.groups.append(Group(layout.root, part.file, number, max(0, pages - at), options.views))
        at += len(group)
    return flat, work


def _done_one_by_one(todo: list[Work], workers: int, site: Site) -> Iterator[Work]:
    """Write the models of each shard, several row groups at a time; yields a shard when it is complete."""
    if workers == 1 or not todo:
        for work in todo:
            _count(site, [write_group(group) for group in work.groups])
            yield work
        return
    context = multiprocessing.get_context("spawn")  # pyarrow's threads do not survive a fork
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [(work, [pool.submit(write_group, group) for group in work.groups]) for work in todo]
        try:
            for work, futures in waiting:
                _count(site, [future.result() for future in futures])
                yield work
        finally:
            pool.shutdown(cancel_futures=True)


def write_group(group: Group) -> tuple[int, int, int]:
    """Write pictures and pages of a row group. Returns the files written, left as they were, and bytes."""
    site = Site(Layout(group.root))
    with Shard(site.layout.shard(group.file)) as shard:
        for number, row in enumerate(shard.rows(groups=[group.number])):
            name = site.layout.bundle_name(row["uid"]).removesuffix(".zip")
            site.put(f"thumbs/{name}.webp", model.thumbnail(row))
            if number < group.pages:
                page = model.page(row, site.layout, group.views)
                site.put(f"models/{name}.js", script(f"model/{row['uid']}", page))
    return site.written, site.kept, site.bytes


def _count(site: Site, results: list[tuple[int, int, int]]) -> None:
    for written, kept, size in results:
        site.written += written
        site.kept += kept
        site.bytes += size


def _read_done(site: Site) -> dict[str, str]:
    try:
        value = json.loads(storage.read_bytes(site.root / _DONE))
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _remove_gone(site: Site, uids: set[str]) -> None:
    """Remove the files of models that the shards do not have: those whose place is what a uid leads to."""
    for folder, suffix in (("thumbs", ".webp"), ("models", ".js")):
        places = {name.removesuffix(".zip") + suffix for name in map(site.layout.bundle_name, uids)}
        names = [entry.name for entry in storage.listing(site.root / folder)]
        gone = [name for name in names if name not in places and _is_place(site.layout, name, suffix)]
        storage.remove([site.root / folder / name for name in gone])


def _is_place(layout: Layout, name: str, suffix: str) -> bool:
    """Whether a file lies where a model's is put: `ab/UID` and the suffix, with ab by the uid's hash."""
    uid = name.partition("/")[2].removesuffix(suffix)
    return is_name(uid) and name == layout.bundle_name(uid).removesuffix(".zip") + suffix


# ---- columns and runs --------------------------------------------------------------------------------------


def _write_columns(site: Site, columns: Iterator[Column], parts: list[Part], options: Options) -> None:
    listed = []
    for number, column in enumerate(columns):
        name = f"data/columns/{number:02d}.js"
        listed.append({"name": column.name, "kind": column.kind, "file": name})
        site.put(name, script(f"column/{column.name}", column.data))
    rows = sum(part.rows for part in parts)
    pages = rows if options.pages is None else min(rows, options.pages)
    site.put("data/index.js", script("index", {"rows": rows, "pages": pages, "columns": listed}))


def _write_runs(site: Site) -> None:
    runs: list[dict[str, Any]] = []
    for number, run in enumerate(read_runs(site.layout)):
        sheets = []
        for step, path in run["samples"]:
            name = f"runs/{number:03d}/{step:07d}.webp"
            try:
                site.put(name, sheet(path))
            except ValueError:
                continue  # being written, or no picture
            sheets.append([step, name])
        runs.append({**run, "samples": sheets})
    site.put("data/runs.js", script("runs", runs))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=0).encode()
