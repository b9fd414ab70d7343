"""OUT/croissant.json: the dataset in Croissant's terms, which dataset search and loaders read.

Shards are one file set, a row of them one record; images are image objects. Format: mlcommons.org/croissant,
version 1.0, as JSON-LD.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from fuse.dataset.layout import SHARDS
from fuse.dataset.shard import schema_for

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SHARD_SET = "shards"


def croissant(rows: int, views: int, licenses: list[str]) -> dict[str, Any]:
    """The description of a dataset of `rows` rows with `views` images each."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "InsideOut dataset",
        "description": f"Views and colored point clouds of {rows} 3D models: outside, hidden, solid.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": licenses or ["unknown"],
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": _SHARD_SET,
                "name": _SHARD_SET,
                "description": "One row per model.",
                "encodingFormat": "application/x-parquet",
                "includes": SHARDS,
            }
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "models", "name": "models", "field": list(_fields(views))}
        ],
    }


def _fields(views: int) -> Iterator[dict[str, Any]]:
    """Every column that Croissant has a type for; structs it reads by their own columns only."""
    for field in schema_for(views):
        if kind := _kind(field):
            yield {
                "@type": "cr:Field",
                "@id": f"models/{field.name}",
                "name": field.name,
                "dataType": kind,
                "source": {"fileSet": {"@id": _SHARD_SET}, "extract": {"column": field.name}},
            }


def _kind(field: pa.Field) -> str | None:
    if (field.metadata or {}).get(b"mime", b"").startswith(b"image/"):
        return "sc:ImageObject"
    if pa.types.is_string(field.type):
        return "sc:Text"
    if pa.types.is_integer(field.type):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(field.type) else None
