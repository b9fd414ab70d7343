"""A collection's catalog as the list that `insideout render` takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pipeline.catalogs import amazon_berkeley, google_scanned, objaverse, sweethome3d
from pipeline.catalogs.entry import Entry
from pipeline.output.licenses import is_known
from render.failures import DAMAGE, UserError

CATALOGS = (objaverse, amazon_berkeley, google_scanned, sweethome3d)
_HEADER = ("path", "root", "uid", "caption", "category", "license")


def write_list(folder: Path, to: Path, require_license: bool = False) -> tuple[str, int, int]:
    """Write the list of a collection. Returns the catalog's name, the models listed and those left out.

    UserError where the folder has no catalog that is known here.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give the collection's.")
    catalog = next((one for one in CATALOGS if one.knows(folder)), None)
    if catalog is None:
        known = ", ".join(one.NAME for one in CATALOGS)
        raise UserError(f"{folder}: no catalog of {known} found. docs/catalogs.md says what each looks like.")
    try:
        found = list(catalog.entries(folder))
    except UserError:
        raise
    except DAMAGE as error:
        reason = f"damaged, or of another version ({type(error).__name__}: {error})"
        raise UserError(f"{folder}: its catalog of {catalog.NAME} is {reason}. Download it again.") from error
    listed = [one for one in found if not require_license or is_known(str(one.license))]
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(as_csv(listed, folder.absolute(), to.absolute().parent), encoding="utf-8", errors="replace")
    return catalog.NAME, len(listed), len(found) - len(listed)


def as_csv(listed: Iterable[Entry], folder: Path, beside: Path) -> str:
    """The list as CSV; paths are relative where it lies in the collection's folder."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_HEADER)
    own = beside == folder
    for one in listed:
        path, root = (one.path, "") if own else (f"{folder}/{one.path}", str(folder))
        license = str(one.license) if one.license.name or one.license.author else ""
        writer.writerow((path, root, one.uid or "", one.caption or "", one.category or "", license))
    return buffer.getvalue()
