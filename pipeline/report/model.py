"""What a model's page shows: its cloud, some of its views with their layers, and what is known about it."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np

from fuse.dataset.layout import Layout
from fuse.dataset.shard import Row, decode, image_column
from fuse.preview.thumbs import best_view, webp
from pipeline.report import pictures
from pipeline.report.scripts import data_uri, packed
from render.bundle import Bundle, BundleError, View

LAYERS = 4
"""Hidden layers that a view shows."""
_CLOUDS = {"outside": ("rgb", "albedo", "normal"), "hidden": ("albedo", "normal"), "solid": ()}
_STEPS = 32767  # of a coordinate, from 0 to 1
_ABOUT = ("source", "format", "split", "caption", "category", "license", "solid_method")
_COUNTS = ("faces", "vertices", "objects", "materials", "textures")
_LONGEST = 2000  # characters of a text that a stranger wrote
_MOST_NOTES = 20


def thumbnail(row: Row) -> bytes:
    """The gallery's picture: the view whose height shows an object best."""
    best = best_view([camera["camera_to_world"] for camera in row["cameras"]])
    return webp(decode(row, image_column(best)), pictures.THUMB)


def page(row: Row, layout: Layout, views: int) -> dict[str, Any]:
    """The data of a model's page. `views` are shown, evenly chosen; without its bundle, their colors only."""
    about = [[name, _short(row[name])] for name in _ABOUT if row[name]]
    try:
        with Bundle(layout.bundle(row["uid"])) as bundle:
            about += _about(bundle.meta)
            shown = [_view(bundle.view(index), index) for index in _chosen(len(bundle), views)]
    except BundleError as error:
        about.append(["bundle", _short(str(error).replace(f"{layout.root}/", ""))])  # reports travel
        shown = [_color_only(row, index) for index in _chosen(len(row["cameras"]), views)]
    clouds = {kind: _cloud(row, kind, colors) for kind, colors in _CLOUDS.items()}
    spacing = float(np.nan_to_num(row["quality"]["spacing"]))
    quality = [[name, value] for name, value in row["quality"].items() if name != "singular_values"]
    quality += [
        [f"singular value {i}", value] for i, value in enumerate(row["quality"]["singular_values"], 1)
    ]
    return {
        "uid": row["uid"], "about": about, "quality": _finite(quality), "clouds": clouds, "spacing": spacing,
        "views": shown,
    }  # fmt: skip


def _finite(pairs: list[list[Any]]) -> list[list[Any]]:
    """JSON has neither NaN nor infinity: None instead."""
    return [[name, value if math.isfinite(value) else None] for name, value in pairs]


def _chosen(count: int, most: int) -> list[int]:
    """At most `most` of `count` views, evenly spread over their order."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, most)).round()})


def _about(meta: dict[str, Any]) -> list[list[str]]:
    counts = meta.get("counts", {})
    about = [["importer", _short(str(meta["importer"]))]] if meta.get("importer") else []
    about += [[name, f"{counts[name]:,}"] for name in _COUNTS if isinstance(counts.get(name), int)]
    for name in ("missing_textures", "notes"):
        found = [_short(str(text)) for text in meta.get(name) or ()]
        more = [f"and {len(found) - _MOST_NOTES} more"] if len(found) > _MOST_NOTES else []
        about += [[name.replace("_", " "), text] for text in [*found[:_MOST_NOTES], *more]]
    return about


def _view(view: View, index: int) -> dict[str, Any]:
    """A view's pictures by kind, then those of each layer behind."""
    near, far = pictures.depth_range(view, LAYERS)
    shown = {
        "lit": view.rgba,
        "albedo": pictures.albedo(view),
        "depth": pictures.depth(view, near, far),
        "normal": pictures.normal(view),
        "surfaces": pictures.layer_count(view),
        "interior": pictures.interior(view),
    }
    hidden = [
        {
            "albedo": _picture(pictures.albedo(layer)),
            "depth": _picture(pictures.depth(layer, near, far)),
        }
        for layer in islice(view.layers(), 1, LAYERS + 1)
    ]
    found = [[kind, _picture(pixels)] for kind, pixels in shown.items() if pixels is not None]
    more = max(0, len(view.behind) - LAYERS)
    return {"index": index, "near": near, "far": far, "pictures": found, "hidden": hidden, "more": more}


def _color_only(row: Row, index: int) -> dict[str, Any]:
    lit = _picture(decode(row, image_column(index)))
    return {"index": index, "near": 0, "far": 0, "pictures": [["lit", lit]], "hidden": [], "more": 0}


def _picture(pixels: np.ndarray) -> str:
    return data_uri(webp(pixels, pictures.LARGEST), pictures.MIME)


def _cloud(row: Row, kind: str, colors: tuple[str, ...]) -> dict[str, Any]:
    """One kind of points: int16 coordinates, x 32,767; colors and normals as in the shard."""
    xyz = decode(row, f"{kind}_xyz")
    code = np.rint(np.nan_to_num(xyz).clip(-1, 1) * _STEPS).astype(np.int16)
    rest = {name: packed(decode(row, f"{kind}_{name}")) for name in colors}
    return {"points": len(xyz), "xyz": packed(code), **rest}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
