"""3MF: the mesh objects of its build, with components, materials, vertex colors and textures.

Core specification 1.3 and the materials extension 1.2 (github.com/3MFConsortium): `basematerials` and
`colorgroup` are sRGB and become corner colors; a `texture2dgroup` becomes a textured material. Parts that
other packages add by `p:path` (production extension) are followed. Z is up, as in Blender.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.files import ZIP_DAMAGE
from render.importing.rawmesh import RawMaterial, RawMesh
from render.references import archives
from render.srgb import srgb_to_linear

_DEPTH = 32
_LARGEST = 1 << 30  # bytes of one part, unpacked


@dataclass
class _Part:
    """The resources of one .model part, by id."""

    objects: dict[str, ElementTree.Element] = field(default_factory=dict)
    colors: dict[str, np.ndarray] = field(default_factory=dict)  # id -> (N, 3) linear
    coordinates: dict[str, np.ndarray] = field(default_factory=dict)  # id -> (N, 2)
    textures: dict[str, Path] = field(default_factory=dict)  # id of the group -> image
    items: list[ElementTree.Element] = field(default_factory=list)


class _Package:
    def __init__(self, archive: zipfile.ZipFile, scratch: Path):
        self.archive, self.scratch = archive, scratch
        self._names = {name.lower().lstrip("/"): name for name in archive.namelist()}
        self._parts: dict[str, _Part] = {}

    def read(self, name: str) -> bytes:
        info = self.archive.getinfo(self._names[name.lower().lstrip("/")])
        if info.file_size > _LARGEST:
            raise ValueError(f"{name} unpacks to {info.file_size} bytes")
        return self.archive.read(info)

    def part(self, name: str) -> _Part:
        if name not in self._parts:
            self._parts[name] = self._parse(ElementTree.fromstring(self.read(name)))
        return self._parts[name]

    def main(self) -> str:
        names = [name for name in self._names if name.endswith(".model")]
        return next((name for name in names if name == "3d/3dmodel.model"), min(names))

    def _parse(self, root: ElementTree.Element) -> _Part:
        part, images = _Part(), {}
        for element in root.iter():
            tag, name = _tag(element), element.get("id", "")
            if tag == "object":
                part.objects[name] = element
            elif tag == "item":
                part.items.append(element)
            elif tag == "basematerials":
                part.colors[name] = _colors([child.get("displaycolor", "") for child in element])
            elif tag == "colorgroup":
                part.colors[name] = _colors([child.get("color", "") for child in element])
            elif tag == "texture2d":
                images[name] = self._extract(element.get("path", ""), name)
            elif tag == "texture2dgroup":
                pairs = [(float(child.get("u", 0)), float(child.get("v", 0))) for child in element]
                part.coordinates[name] = np.array(pairs).reshape(-1, 2)
                part.textures[name] = images.get(element.get("texid", ""), Path("missing.png"))
        return part

    def _extract(self, inside: str, name: str) -> Path:
        """The image as a file below the scratch folder, named by its id, not as the archive says."""
        target = self.scratch / f"texture-{len(self._parts)}-{name}{Path(inside).suffix}"
        if inside.lower().lstrip("/") in self._names:
            target.write_bytes(self.read(inside))
        return target


def read_3mf(path: Path, scratch: Path) -> list[RawMesh]:
    """Every mesh that the build places. Raises ModelFailure."""
    archives.check(path)
    try:
        with zipfile.ZipFile(path) as archive:
            package = _Package(archive, scratch)
            return list(_build(package))
    except (*ZIP_DAMAGE, *DAMAGE) as error:
        raise ModelFailure(FailureClass.INVALID, f"{path.name}: damaged 3MF: {error}") from error


def _build(package: _Package) -> list[RawMesh]:
    main = package.main()
    meshes: list[RawMesh] = []
    items = package.part(main).items
    for item in items:
        if item.get("printable", "1") != "0":
            _place(package, _path(item) or main, item.get("objectid", ""), _matrix(item), meshes, 0)
    return meshes


def _place(
    package: _Package, name: str, identity: str, matrix: np.ndarray, meshes: list[RawMesh], depth: int
) -> None:
    """Append the meshes of one object, components included."""
    if depth > _DEPTH or len(meshes) > 100_000:
        raise ValueError("components are nested without end")
    part = package.part(name)
    thing = part.objects[identity]
    for child in thing:
        if _tag(child) == "mesh":
            meshes += _meshes(thing, child, part, matrix)
        elif _tag(child) == "components":
            for component in child:
                inner = matrix @ _matrix(component)
                _place(
                    package, _path(component) or name, component.get("objectid", ""), inner, meshes, depth + 1
                )


def _meshes(
    thing: ElementTree.Element, mesh: ElementTree.Element, part: _Part, matrix: np.ndarray
) -> list[RawMesh]:
    """One mesh per texture, and one for the faces without."""
    found = {_tag(child): child for child in mesh}
    vertices = np.array([[float(v.get(axis, 0)) for axis in "xyz"] for v in found["vertices"]]).reshape(-1, 3)
    default = (thing.get("pid", ""), thing.get("pindex", "0"))
    groups: dict[str, list[tuple[list[int], list[int] | None, str]]] = {}
    for triangle in found["triangles"]:
        pid = triangle.get("pid", default[0])
        first = triangle.get("p1", default[1] if "pid" not in triangle.attrib else None)
        spots = (
            None
            if first is None
            else [int(first), int(triangle.get("p2", first)), int(triangle.get("p3", first))]
        )
        corners = [int(triangle.get(key, -1)) for key in ("v1", "v2", "v3")]
        groups.setdefault(pid if pid in part.textures else "", []).append((corners, spots, pid))
    name = thing.get("name") or f"Object {thing.get('id')}"
    return [_group(name, vertices, rows, part, key, matrix) for key, rows in groups.items()]


def _group(
    name: str,
    vertices: np.ndarray,
    rows: list[tuple[list[int], list[int] | None, str]],
    part: _Part,
    texture: str,
    matrix: np.ndarray,
) -> RawMesh:
    corners = np.array([row[0] for row in rows], int).ravel()
    sizes = np.full(len(rows), 3)
    if texture:
        uv = np.concatenate([part.coordinates[texture][spots or [0, 0, 0]] for _, spots, _ in rows])
        material = RawMaterial(texture, texture=part.textures[texture])
        return RawMesh(name, vertices, corners, sizes, uv=uv, material=material, matrix=matrix)
    if not any(pid in part.colors for _, _, pid in rows):
        return RawMesh(name, vertices, corners, sizes, matrix=matrix)
    plain = np.full((3, 3), 0.8)
    colors = [part.colors[pid][spots] if spots and pid in part.colors else plain for _, spots, pid in rows]
    return RawMesh(name, vertices, corners, sizes, colors=np.concatenate(colors), matrix=matrix)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _path(element: ElementTree.Element) -> str | None:
    return next((value for key, value in element.attrib.items() if key.endswith("}path")), None)


def _matrix(element: ElementTree.Element) -> np.ndarray:
    """Twelve numbers, a row-vector 4 x 3 matrix."""
    matrix = np.eye(4)
    if element.get("transform"):
        matrix[:3, :] = np.array(element.get("transform", "").split(), float).reshape(4, 3).T
    return matrix


def _colors(words: list[str]) -> np.ndarray:
    """`#RRGGBB` or `#RRGGBBAA` to linear (N, 3)."""
    padded = [(word.lstrip("#") + "CCCCCC")[:6] for word in words]
    return srgb_to_linear(
        np.array([list(bytes.fromhex(word)) for word in padded], float).reshape(-1, 3) / 255
    )
