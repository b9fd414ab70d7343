"""Amazon Berkeley Objects: `3dmodels/metadata/3dmodels.csv.gz`, and titles in `listings/metadata/*.json.gz`.

A model's path is below `3dmodels/original/`. Titles and product types come in several languages: English
first. The license is the one whose file lies in the folder; the README asks for credit to Amazon.com.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.catalogs.entry import Entry, read_json_lines
from pipeline.output.licenses import License
from render.failures import DAMAGE, UserError

NAME = "abo"
_TABLE = "3dmodels/metadata/3dmodels.csv.gz"
_MODELS = "3dmodels/original"
_AUTHOR = "Amazon.com"


def knows(folder: Path) -> bool:
    """Whether the folder has the collection's table of 3D models."""
    return (folder / _TABLE).is_file()


def entries(folder: Path) -> Iterator[Entry]:
    """Every model of the table whose file is there."""
    listings = _listings(folder)
    texts = sorted([*folder.glob("LICENSE-*.txt"), *folder.glob("*/LICENSE-*.txt")])
    license = texts[0].stem.removeprefix("LICENSE-") if texts else None
    for row in _table(folder / _TABLE):
        path = f"{_MODELS}/{row['path']}"
        if (folder / path).is_file():
            listing = listings.get(row["3dmodel_id"], {})
            caption, kind = _english(listing.get("item_name")), _english(listing.get("product_type"))
            category = kind.replace("_", " ").lower() if kind else None
            yield Entry(path, caption, category, License(license, _AUTHOR), row["3dmodel_id"])


def _table(path: Path) -> list[dict[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
        if not {"3dmodel_id", "path"} <= set(rows.fieldnames or ()):
            raise ValueError("no columns 3dmodel_id and path")
        return list(rows)
    except (OSError, csv.Error, *DAMAGE) as error:
        raise UserError(f"{path}: cannot be read ({error}). Download it again.") from None


def _listings(folder: Path) -> dict[str, dict[str, Any]]:
    """Model id -> the first product listed with it."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "listings" / "metadata").glob("*.json.gz")):
        for listing in read_json_lines(path):
            if model := listing.get("3dmodel_id"):
                found.setdefault(model, listing)
    return found


def _english(values: list[dict[str, str]] | None) -> str | None:
    """The English one of several translations, else the first."""
    ordered = sorted(values or (), key=lambda one: not one.get("language_tag", "").startswith("en"))
    return ordered[0].get("value") if ordered else None
