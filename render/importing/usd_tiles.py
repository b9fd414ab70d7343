"""Tiled textures (`skin.<UDIM>.png`) of a USD stage, whose names Blender's importer does not resolve.

No file has such a name, so USD leaves it as written; the importer finds it only if it begins with a dot. The
place where the tiles lie, wherever that is, is said in full.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from render.references.lookup import TILE, LocalTree, Search

_FILE = "inputs:file"


def find_tiles(stage: Any, path: Path) -> int:
    """Say in the stage's edit target where the tiles of the model at `path` lie; of how many textures."""
    from pxr import Sdf, Usd

    search = Search(LocalTree(path.parent.parent), path.parent.name)
    found = 0
    for prim in Usd.PrimRange.Stage(stage):
        attribute = prim.GetAttribute(_FILE) if prim.GetTypeName() == "Shader" else None
        name = getattr(attribute.Get(), "path", "") if attribute else ""
        place = _place(attribute, name, search, path) if TILE.search(name) else None
        if attribute and place is not None:
            attribute.Set(Sdf.AssetPath(place))
            found += 1
    return found


def _place(attribute: Any, name: str, search: Search, path: Path) -> str | None:
    """The name of an attribute's tiles with their folder; None where none are found."""
    if path.suffix.lower() == ".usdz":
        layer = attribute.GetPropertyStack()[0].layer
        return layer.ComputeAbsolutePath(f"./{name.removeprefix('./')}")
    tiles = search.tiles(name)
    mark = TILE.search(base := name.replace("\\", "/").rpartition("/")[2])
    if not tiles or mark is None:
        return None
    tile = path.parent.parent / tiles[0]
    end = len(tile.name) - (len(base) - mark.end())
    return str(tile.with_name(f"{tile.name[: mark.start()]}<UDIM>{tile.name[end:]}"))
