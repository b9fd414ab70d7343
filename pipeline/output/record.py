"""OUT/dataset.json, what this dataset is and how to make it again; and OUT/README.md, its card for people.

No times and no machine in either: the same models, configuration and versions give the same bytes.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fuse.dataset import storage
from fuse.dataset.description import SCHEMA_VERSION, read_description
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from pipeline.config import config_hash
from pipeline.ledger.known import Known
from pipeline.output.card import HEADING, card, shard_facts
from pipeline.output.commit import commit_bytes
from pipeline.output.contact_sheet import contact_sheet
from pipeline.output.croissant import croissant
from render.failures import UserError

PACKAGES = ("insideout3d", "bpy", "numpy", "open3d", "pyarrow", "fpsample", "trimesh", "assimp-py", "pillow")
Record = dict[str, Any]


def read(layout: Layout) -> Record:
    """dataset.json, validated; an empty record where there is none yet."""
    return read_description(layout).model_dump(mode="json", exclude_unset=True)


def claim(layout: Layout, stage: str, config: BaseModel, overwrite: bool) -> None:
    """Record the stage's configuration before its work begins; UserError if OUT was made with another."""
    values = config.model_dump(mode="json")
    record = read(layout)
    before = record.get("stages", {}).get(stage, {}).get("config", values)
    changed = sorted(key for key in before.keys() | values.keys() if before.get(key) != values.get(key))
    if changed and not overwrite:
        keys = (f"{stage}.{key} {before.get(key)!r} -> {values.get(key)!r}" for key in changed)
        raise UserError(
            f"{layout.root} was made with another configuration: {', '.join(keys)}. "
            "Choose another folder, or do all again with --on-existing overwrite."
        )
    stages = record.get("stages", {}) | {stage: {"config": values, "config_hash": config_hash(config)}}
    _write(layout, record | {"stages": stages})


def describe(layout: Layout) -> None:
    """Bring versions, seeds, totals and the card up to date; a README.md that is no card of ours stays."""
    record = read(layout)
    stages = record.get("stages", {})
    seeds = {name: stage["config"]["seed"] for name, stage in stages.items() if "seed" in stage["config"]}
    _write(layout, record | {"versions": versions(), "seeds": seeds, "totals": _totals(layout)})
    parts, facts = read_manifest(layout.clouds), shard_facts(layout)
    if sheet := contact_sheet(layout, parts):
        commit_bytes(sheet, layout.contact_sheet, layout)
    if parts:
        terms = croissant(sum(part.rows for part in parts), facts.views, facts.license_names())
        commit_bytes(json.dumps(terms, indent=2).encode() + b"\n", layout.croissant, layout)
    if _is_ours(layout.card):
        commit_bytes(card(read(layout), facts).encode(), layout.card, layout)


def render_config_hash(layout: Layout) -> str | None:
    """The configuration that OUT's bundles should have."""
    return read(layout).get("stages", {}).get("render", {}).get("config_hash")


def seed(layout: Layout) -> int:
    """The dataset's seed: the render stage's."""
    return read(layout).get("seeds", {}).get("render", 0)


def versions() -> dict[str, str]:
    """Versions of what shapes the bytes."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _is_ours(path: Path) -> bool:
    """Whether a README.md is a card of ours, or none is there: a person's own stays."""
    try:
        return HEADING in storage.read_bytes(path).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return True


def _write(layout: Layout, record: Record) -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=2, sort_keys=True) + "\n"
    commit_bytes(text.encode(), layout.dataset, layout)


def _totals(layout: Layout) -> Record:
    """Counts per stage, failures by class, and what the shards hold."""
    totals: Record = {}
    for stage in ("render", "fuse"):
        known = Known.load(layout.ledger(stage))
        if len(known):
            ok, failed = known.totals()
            totals[stage] = {"ok": ok, "failed": dict(sorted(failed.items()))}
    parts = read_manifest(layout.clouds)
    if parts:
        totals["clouds"] = {
            "shards": len(parts),
            "rows": sum(part.rows for part in parts),
            "bytes": sum(part.bytes for part in parts),
        }
    return totals
