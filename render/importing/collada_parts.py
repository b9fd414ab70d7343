"""The parts of a Collada file as pycollada has them: geometry as one mesh, an effect as one material."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

import numpy as np
from collada.geometry import Geometry
from collada.lineset import LineSet
from collada.material import Effect, Map, Material

from render.importing.rawmesh import Opacity, RawMaterial, RawMesh, find_texture
from render.srgb import srgb_to_linear

_FAR = 32  # float32 keeps the shape of what lies this many sizes from the origin


@dataclass(frozen=True)
class Piece:
    """One primitive of a geometry: its corners and what they carry."""

    symbol: str | None  # of its material
    corners: np.ndarray  # (C,) int
    sizes: np.ndarray  # (F,) int
    uvs: dict[str, np.ndarray]  # set -> (C, 2)
    colors: np.ndarray | None  # (C, 3) linear
    normals: np.ndarray | None  # (C, 3)


@dataclass(frozen=True)
class Shape:
    """The vertices of a geometry and the pieces that share them."""

    vertices: np.ndarray  # (V, 3) float64
    pieces: list[Piece]


@dataclass(frozen=True)
class Surface:
    """A material, and the symbol of the texture coordinates that its texture uses."""

    material: RawMaterial
    texcoord: str | None


def tag(element: Element) -> str:
    """An element's name without its namespace; empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def named(elements: Any, name: str) -> Iterator[Element]:
    """Those of `elements` that have a name."""
    return (element for element in elements if tag(element) == name)


def numbers(element: Element) -> np.ndarray:
    """The (N,) float64 numbers of an element's text."""
    return np.array((element.text or "").split(), np.float64)


def read_shape(geometry: Geometry) -> Shape:
    """The polygons of a geometry; lines have no faces."""
    starts: dict[int, int] = {}
    points: list[np.ndarray] = []
    pieces = []
    for primitive in geometry.primitives:
        if isinstance(primitive, LineSet) or primitive.index is None or not len(primitive.index):
            continue
        source = primitive.sources["VERTEX"][0][4]
        if id(source) not in starts:
            starts[id(source)] = sum(map(len, points))
            points.append(_positions(source))
        pieces.append(_read_piece(primitive, starts[id(source)]))
    return Shape(np.concatenate(points) if points else np.zeros((0, 3)), pieces)


def _positions(source: Any) -> np.ndarray:
    """(V, 3) float64; read again from the text where pycollada's float32 would lose digits."""
    rows = np.asarray(source.data, np.float64)
    if len(rows) and np.abs(rows).max() > _FAR * np.ptp(rows, axis=0).max():
        exact = numbers(next(named(source.xmlnode, "float_array")))
        rows = exact.reshape(rows.shape) if exact.size == rows.size else rows
    return rows


def _read_piece(primitive: Any, start: int) -> Piece:
    """One primitive; its vertices are numbered from `start` on."""
    index = np.asarray(primitive.index).reshape(-1, primitive.nindices)
    sizes = getattr(primitive, "vcounts", None)
    sizes = np.full(len(index) // 3, 3) if sizes is None else np.asarray(sizes)
    if sizes.sum() != len(index):
        raise ValueError(f"{len(index)} corners for polygons that need {sizes.sum()}")

    def rows(semantic: str) -> dict[str, np.ndarray]:
        inputs = primitive.sources.get(semantic, [])
        return {place or "0": source.data[index[:, offset]] for offset, _, _, place, source in inputs}

    colors, normals = next(iter(rows("COLOR").values()), None), next(iter(rows("NORMAL").values()), None)
    return Piece(
        symbol=primitive.material,
        corners=index[:, primitive.sources["VERTEX"][0][0]] + start,
        sizes=sizes,
        uvs={place: values[:, :2] for place, values in rows("TEXCOORD").items()},
        colors=None if colors is None or colors.shape[1] < 3 else srgb_to_linear(colors[:, :3]),
        normals=normals,
    )


def join(name: str, shape: Shape, surfaces: list[tuple[RawMaterial | None, str | None]]) -> RawMesh:
    """The pieces of a geometry as one mesh with a material slot each."""
    pieces = shape.pieces
    uvs = [piece.uvs.get(place or "", next(iter(piece.uvs.values()), None)) for piece, (_, place) in
           zip(pieces, surfaces, strict=True)]  # fmt: skip
    materials = tuple(dict.fromkeys(material for material, _ in surfaces))
    slots = [materials.index(material) for material, _ in surfaces]
    return RawMesh(
        name=name,
        vertices=shape.vertices,
        corners=np.concatenate([piece.corners for piece in pieces]),
        sizes=np.concatenate([piece.sizes for piece in pieces]),
        uv=_stack(uvs, pieces, 0.0, 2),
        colors=_stack(
            [_paint(p.colors, m) for p, (m, _) in zip(pieces, surfaces, strict=True)], pieces, 1.0, 3
        ),
        normals=_stack([piece.normals for piece in pieces], pieces, 0.0, 3),
        slots=materials,
        slot_of_face=np.repeat(slots, [len(piece.sizes) for piece in pieces]),
    )


def _paint(colors: np.ndarray | None, material: RawMaterial | None) -> np.ndarray | None:
    """Vertex colors, unless all are the same and a material says more than white or the usual gray."""
    if colors is None or material is None:
        return colors
    if material.texture is None and any(np.allclose(material.color, plain) for plain in (1.0, 0.8)):
        return colors
    return colors if len(colors) and np.ptp(colors, axis=0).max() > 1e-3 else None


def _stack(
    values: list[np.ndarray | None], pieces: list[Piece], default: float, width: int
) -> np.ndarray | None:
    """One row per corner, `default` for pieces that have none; None where no piece has any."""
    if all(value is None for value in values):
        return None
    filled = [
        np.full((len(piece.corners), width), default) if value is None else value
        for value, piece in zip(values, pieces, strict=True)
    ]
    return np.concatenate(filled)


def read_surface(material: Material, folder: Path, notes: list[str]) -> Surface:
    """The surface of a Collada material; images are looked for in `folder`, and `notes` gets what is lost."""
    effect = material.effect
    shown = _shown(effect)
    red, green, blue = shown if isinstance(shown, tuple) else (0.8, 0.8, 0.8)
    texture = _image(shown, folder)
    factor, painted, mode = _opacity(effect, material.name or material.id, notes)
    mask = _image(painted, folder)
    raw = RawMaterial(
        name=material.name or material.id or "Material",
        color=(red, green, blue),
        alpha=factor,
        texture=texture,
        opacity=None if mask is None else Opacity(mask, luminance="RGB" in mode, inverted="ZERO" in mode),
    )
    return Surface(raw, shown.texcoord if isinstance(shown, Map) else None)


def _shown(effect: Effect) -> tuple[float, float, float] | Map | None:
    """The color or texture of a surface: the diffuse one; the emission where that is absent or black."""
    diffuse, glow = _color(effect.diffuse), _color(effect.emission)
    dark = diffuse is None or diffuse == (0.0, 0.0, 0.0) or effect.shadingtype == "constant"
    return glow if dark and glow is not None and glow != (0.0, 0.0, 0.0) else diffuse


def _color(value: Any) -> tuple[float, float, float] | Map | None:
    if isinstance(value, Map):
        return value
    if isinstance(value, tuple | list) and len(value) >= 3:
        return float(value[0]), float(value[1]), float(value[2])
    return None


def _image(value: Any, folder: Path) -> Path | None:
    """The file of a texture; a path that does not exist is kept, so that it counts as missing."""
    if not isinstance(value, Map) or not (value.sampler.surface.image.path or "").strip():
        return None
    name = unquote(value.sampler.surface.image.path.strip().removeprefix("file://"))
    return find_texture(name, folder)


def _opacity(effect: Effect, name: str, notes: list[str]) -> tuple[float, Map | None, str]:
    """A surface's constant opacity, the texture that scales it, and the mode that this texture is read in."""
    said = next(named(effect.xmlnode.iter(), "transparent"), None)
    factor = next(named(effect.xmlnode.iter(), "transparency"), None)
    if said is None and factor is None:
        return 1.0, None, "A_ONE"
    mode = said.get("opaque", "A_ONE") if said is not None else "A_ONE"
    scale: Any = effect.transparency if factor is not None else 1.0
    scale = scale[0] if isinstance(scale, list) and scale else scale
    scale = float(scale) if isinstance(scale, int | float) and np.isfinite(scale) else 1.0
    if isinstance(effect.transparent, Map):
        return min(max(scale, 0.0), 1.0), effect.transparent, mode
    red, green, blue, alpha = (
        (*(effect.transparent or ()), *(1.0,) * 4)[:4] if said is not None else (1.0,) * 4
    )
    share = 0.212671 * red + 0.715160 * green + 0.072169 * blue if "RGB" in mode else alpha
    opacity = min(max(1 - share * scale if "ZERO" in mode else share * scale, 0.0), 1.0)
    if opacity == 0 and (said is None or said.get("opaque") is None):
        notes.append(f"{name}: opacity 0 without an opaque mode; taken as opaque")
        opacity = 1.0
    return opacity, None, mode
