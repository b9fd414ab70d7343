"""CPU-seconds from a model's bytes to its staged copy, on the worst text known for each pattern.

The child's orders (scan, then decode and rewrite), the JSON between, and the supervisor's lookup of names.

    python -m pipeline.bench.scan           # a table: 64 KiB, 1 MiB, 16 MiB

The time must grow as the text does. `tests/render/references/test_linear_time.py` checks the growth.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from render.references.closure import references
from render.references.orders import Order, RewriteOrder, Scanned, ScanOrder, obey

SIZES = (64 << 10, 1 << 20, 16 << 20)
"""Bytes."""

_OBJ = b"v 0 0 0\nv 0 0 1\nv 0 1 0\nf 1 2 3\n"
_MAPS = [b"map_Kd %04d" % number for number in range(512)]
_GLTF = b'{"asset": {"version": "2.0"}, "buffers": ['
_WORST: dict[str, tuple[str, bytes, bytes]] = {
    "obj: words that begin alike": ("m.obj", _OBJ, b"mtllib"),
    "obj: blanks": ("m.obj", _OBJ + b"mtllib", b" \t"),
    "obj: lines": ("m.obj", b"", b"\n"),
    "obj: names": ("m.obj", _OBJ, b"mtllib a b.mtl c d e\n"),
    "obj: a line of many words": ("m.obj", _OBJ + b"mtllib ", b"a. "),
    "obj: blank lines before a vertex": ("m.obj", b"", b" \n"),
    "obj: vertices that are none": ("m.obj", b"", b"v 0 0\n"),
    "mtl: map_map_": ("m.mtl", b"", b"map_"),
    "mtl: map_ and blanks": ("m.mtl", b"map_Kd", b" "),
    "mtl: names that lead out": ("m.mtl", b"", b"".join(b"map_Kd ../a%02d.png\n" % n for n in range(64))),
    "mtl: names in other encodings": (
        "m.mtl",
        b"",
        b" \xe9.png\n".join(_MAPS),
    ),
    "mtl: tiles": ("m.mtl", b"", b"<UDIM>.png\n".join(_MAPS)),
    "mtl: lines": ("m.mtl", b"", b"map_Kd \n"),
    "mtl: options": ("m.mtl", b"", b"map_Kd -s 1 1 1 -o 0 0 -mm 0 1\n"),
    "mtl: options without an end": ("m.mtl", b"map_Kd ", b"-s 1 1 1 "),
    "mtl: backslashes of two bytes": ("m.mtl", b"", b"\x95\\\n"),
    "gltf: uri and blanks": ("m.gltf", _GLTF, b'"uri"  '),
    "gltf: uri without an end": ("m.gltf", _GLTF + b'"uri": "', b"\\\\"),
    "gltf: keys": ("m.gltf", _GLTF, b'"uri":"'),
    "dae: comments": ("m.dae", b"<", b"!--<"),
    "dae: comments without an end": ("m.dae", b"", b"<!--"),
    "dae: instructions": ("m.dae", b"", b"<?"),
    "dae: init_from": ("m.dae", b"<COLLADA>", b"<init_from>"),
    "dae: prefixes": ("m.dae", b"<COLLADA>", b"<aaaaaaaa"),
    "x3d: url": ("m.x3d", b"<X3D>", b"url "),
    "x3d: url and quotes": ("m.x3d", b"<X3D>", b'url [""'),
    "x3d: url and blanks": ("m.x3d", b"<X3D>", b"url = "),
    "wrl: urls without an end": ("m.wrl", b"#VRML V2.0 utf8\n", b'url "a" '),
    "usda: at": ("m.usda", b"#usda 1.0\n", b"@"),
    "usda: at, three": ("m.usda", b"#usda 1.0\n", b"@@@a"),
    "ply: comments": ("m.ply", b"ply\nformat ascii 1.0\n", b"comment TextureFile \n"),
    "ply: comment and blanks": ("m.ply", b"ply\nformat ascii 1.0\ncomment TextureFile a", b" "),
    "fbx: endings": ("m.fbx", b"Kaydara FBX Binary", b".png"),
    "fbx: endings far apart": ("m.fbx", b"Kaydara FBX Binary", b"a" * 60 + b".png"),
    "blend: tiles": ("m.blend", b"BLENDER-v405", b"<UDIM>.png"),
    "gltf: UTF-16": ("m.gltf", _GLTF.decode().encode("utf-16"), '{"uri": "a.png"}, '.encode("utf-16-le")),
    "off: comments": ("m.off", b"", b"#"),
    "off: lines of comments": ("m.off", b"", b"# \n"),
    "stl: facets": ("m.stl", b"solid a\n", b" \n"),
    "3ds: endings": ("m.3ds", b"MM\xff\xff\xff\0\x3d\x3d", b".tga"),
}
"""Name -> (file name, how it begins, what is repeated)."""


def worst(name: str, size: int) -> tuple[str, bytes]:
    """(file name, content of `size` bytes) of one of `names()`."""
    file, start, repeated = _WORST[name]
    return file, (start + repeated * (size // len(repeated) + 1))[:size]


def names() -> Iterator[str]:
    """The texts there are."""
    return iter(_WORST)


def scan(path: Path) -> None:
    """Everything that is done with a file before its importer sees it."""
    scanned = Scanned.model_validate_json(_obeyed(ScanOrder(path=path)))
    found = references(path, scanner=lambda _: scanned.scan())
    foreign = [name for reference in found for name in reference.foreign]
    _obeyed(RewriteOrder.of(path, path.with_name("rewritten"), scanned.kind, foreign, {}))


def _obeyed(order: Order) -> str:
    return obey(order.model_dump(mode="json")).model_dump_json()


def cpu_seconds(name: str, size: int, folder: Path) -> float:
    """CPU-seconds of `scan` on one text; a file is written to `folder`."""
    file, content = worst(name, size)
    path = folder / file
    path.write_bytes(content)
    began = time.process_time()
    scan(path)
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    print(f"{'':34}" + "".join(f"{size >> 10:>8} KiB" for size in SIZES))
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            seconds = [cpu_seconds(name, size, Path(folder)) for size in SIZES]
            print(f"{name:34}" + "".join(f"{second:12.3f}" for second in seconds), flush=True)


if __name__ == "__main__":
    main()
