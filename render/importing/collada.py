"""Collada: pycollada reads geometry, skins and materials; the node tree is walked here, in float64.

Blender's own importer (gone in Blender 5) loses the transforms of nodes instanced within instanced nodes and
every `matrix` beside translate, rotate or scale, so this reader replaces it. It keeps that importer's
conventions: the unit of length becomes meters, Z is up, material colors are linear, vertex colors sRGB.

The scene is read as it stands at the first key of its animations. A skin is bent by the joints' places in
that scene, or stays in its bind shape where they are missing. Opacity follows the specification (1.5, page
304) with one exception: an opacity of zero without an `opaque` attribute is an exporter's mistake for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from collada import Collada, DaeError
from collada.common import DaeUnsupportedError
from collada.controller import Morph, Skin
from collada.geometry import Geometry

from render.failures import DAMAGE, FailureClass, ModelFailure
from render.importing.collada_edits import fill_holes, name_surfaces, show_first_frame
from render.importing.collada_parts import (
    Piece,
    Shape,
    Surface,
    join,
    named,
    numbers,
    read_shape,
    read_surface,
    tag,
)
from render.importing.rawmesh import Y_UP, RawMaterial, RawMesh

X_UP = np.array([[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
_AXES = {"X_UP": X_UP, "Z_UP": np.eye(4)}
_DEPTH = 200  # nodes within nodes
_MOST_VISITS = 1_000_000  # nodes, each time one is instanced
_MOST_PLACES = 200_000  # instances of geometry
_BROKEN = (DaeError, *DAMAGE)


def read_collada(path: Path) -> tuple[list[RawMesh], list[str]]:
    """Every instance of geometry in the scene at its place, Z up, in meters; notes.

    Raises UnreadableError where another reader may do better, ModelFailure where none should try.
    """
    try:
        with path.open("rb") as file:
            if b"<!ENTITY" in file.read(1 << 16):
                raise ModelFailure(
                    FailureClass.IMPORT_ERROR,
                    f"{path.name} declares XML entities: damaged or hostile",
                )
            file.seek(0)
            library = _Library(file, ignore=[DaeError])
        return _Scene(library, path).meshes()
    except _BROKEN as error:
        raise UnreadableError((str(error) or type(error).__name__)[:500]) from error


class UnreadableError(Exception):
    """pycollada is strict: it, or this module, found something wrong."""


class _Library(Collada):
    """A file's geometries, controllers, images and materials, without its scene."""

    def _loadImages(self) -> None:
        root: Any = self.xmlnode.getroot()
        name_surfaces(root)
        super()._loadImages()

    def _loadGeometry(self) -> None:
        root: Any = self.xmlnode.getroot()
        fill_holes(root)
        super()._loadGeometry()

    def _skip(self) -> None:
        """Not read: the scene is walked by `_Scene`, the rest is not shown."""

    _loadNodes = _loadScenes = _loadDefaultScene = _loadLights = _loadCameras = _loadAnimations = _skip


@dataclass
class _Scene:
    library: Any
    path: Path
    notes: list[str] = field(default_factory=list)
    places: list[tuple[Element, np.ndarray]] = field(default_factory=list)  # (instance, to world)
    worlds: dict[Element, np.ndarray] = field(default_factory=dict)  # node -> to world, its first instance
    visits: int = 0
    _shapes: dict[str, Shape] = field(default_factory=dict)
    _surfaces: dict[str, Surface] = field(default_factory=dict)
    _built: dict[tuple, RawMesh] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root: Element = self.library.xmlnode.getroot()
        show_first_frame(self.root)
        self.nodes = {node.get("id"): node for node in named(self.root.iter(), "node")}
        self.frame = self._frame()
        tools = [tool.text or "" for tool in named(self.root.iter(), "authoring_tool")]
        self.by_blender = any("blender" in tool.lower() for tool in tools)

    def meshes(self) -> tuple[list[RawMesh], list[str]]:
        scene = self._visual_scene()
        if scene is None:
            self.places = [(geometry.xmlnode, self.frame) for geometry in self.library.geometries]
        else:
            self._walk(scene, self.frame, 0)
        found = [raw for instance, matrix in self.places for raw in self._instance(instance, matrix)]
        lost = [error for error in self.library.errors if not isinstance(error, DaeUnsupportedError)]
        if lost:
            self.notes.append(f"{len(lost)} damaged parts left out; the first: {str(lost[0])[:200]}")
        return found, list(dict.fromkeys(self.notes))

    def _frame(self) -> np.ndarray:
        """(4, 4): the turn to Z up, and from the file's unit of length to meters."""
        asset = next(named(self.root, "asset"), Element("asset"))
        up = next(named(asset, "up_axis"), None)
        length = next(named(asset, "unit"), Element("unit"))
        try:
            meters = float(length.get("meter", "1"))
        except ValueError:
            meters = 1.0
        unit = meters if np.isfinite(meters) and meters > 0 else 1.0
        axes = _AXES.get((up.text or "").strip() if up is not None else "", Y_UP)
        return axes @ np.diag([unit, unit, unit, 1])

    def _visual_scene(self) -> Element | None:
        """The scene that the file shows, or else its first."""
        scenes = list(named(self.root.iter(), "visual_scene"))
        shown = {e.get("url", "")[1:] for e in named(self.root.iter(), "instance_visual_scene")}
        return next((scene for scene in scenes if scene.get("id") in shown), next(iter(scenes), None))

    def _walk(self, node: Element, parent: np.ndarray, depth: int) -> None:
        """Collect what `node` and the nodes below it place, each with its matrix to world."""
        self.visits += 1
        if depth > _DEPTH or self.visits > _MOST_VISITS or len(self.places) > _MOST_PLACES:
            raise ModelFailure(
                FailureClass.IMPORT_ERROR, f"{self.path.name}: its nodes instance each other without end"
            )
        matrix = parent @ self._transform(node)
        self.worlds.setdefault(node, matrix)
        for child in node:
            match tag(child):
                case "node":
                    self._walk(child, matrix, depth + 1)
                case "instance_node":
                    target = self.nodes.get(child.get("url", "")[1:])
                    if target is None:
                        self.notes.append(f"node missing: {child.get('url')}")
                    else:
                        self._walk(target, matrix, depth + 1)
                case "instance_geometry" | "instance_controller":
                    self.places.append((child, matrix))

    def _transform(self, node: Element) -> np.ndarray:
        """(4, 4): the product of a node's transforms in their order."""
        matrix = np.eye(4)
        for child in node:
            if (rule := _TRANSFORMS.get(tag(child))) is not None:
                matrix = matrix @ rule(numbers(child))
        return matrix

    def _instance(self, instance: Element, matrix: np.ndarray) -> Iterator[RawMesh]:
        """The mesh that one instance_geometry or instance_controller places, if it is there."""
        name = instance.get("url", "#" + instance.get("id", ""))[1:]
        controller = self.library.controllers.get(name)
        vertices = None
        if isinstance(controller, Skin):
            geometry = controller.geometry
            outer = matrix @ np.linalg.inv(self.frame) if self.by_blender else np.eye(4)
            vertices = self._bent(controller, instance, self._shape(geometry).vertices, outer)
            matrix = matrix @ _bind_shape(controller) if vertices is None else np.eye(4)
        else:
            geometry = controller.source_geometry if isinstance(controller, Morph) else None
            geometry = geometry or self.library.geometries.get(name)
        if geometry is None:
            self.notes.append(f"geometry missing: {name}")
            return
        raw = self._mesh(geometry, instance)
        if raw is None:
            return
        if vertices is not None:
            raw = _with(raw, vertices=vertices, normals=None)
        yield _with(raw, matrix=matrix)

    # ---- geometry ----------------------------------------------------------------------------------------

    def _shape(self, geometry: Geometry) -> Shape:
        if geometry.id not in self._shapes:
            self._shapes[geometry.id] = read_shape(geometry)
        return self._shapes[geometry.id]

    def _mesh(self, geometry: Geometry, instance: Element) -> RawMesh | None:
        """The geometry with the materials bound by this instance; equal ones are built once."""
        shape, bound = self._shape(geometry), list(named(instance.iter(), "instance_material"))
        key = (geometry.id, *((b.get("symbol"), b.get("target")) for b in bound))
        if key not in self._built and shape.pieces:
            surfaces = [self._surface(piece, bound) for piece in shape.pieces]
            self._built[key] = join(geometry.name or geometry.id, shape, surfaces)
        return self._built.get(key)

    def _surface(self, piece: Piece, bound: list[Element]) -> tuple[RawMaterial | None, str | None]:
        """A piece's material and the set of texture coordinates that it reads."""
        binding = next((b for b in bound if b.get("symbol") == piece.symbol), None)
        name = binding.get("target", "")[1:] if binding is not None else piece.symbol or ""
        material = self.library.materials.get(name)
        if material is None:
            return None, None
        if name not in self._surfaces:
            self._surfaces[name] = read_surface(material, self.path.parent, self.notes)
        surface = self._surfaces[name]
        inputs = named(binding, "bind_vertex_input") if binding is not None else iter(())
        sets = [i.get("input_set", "0") for i in inputs if i.get("semantic") == surface.texcoord]
        return surface.material, sets[0] if sets else None

    # ---- skins -------------------------------------------------------------------------------------------

    def _bent(
        self, skin: Any, instance: Element, vertices: np.ndarray, outer: np.ndarray
    ) -> np.ndarray | None:
        """(V, 3) in world: the skin as its joints stand in the scene; None where they do not fit it.

        `outer` (4, 4) is applied last: Blender writes bind shapes in the frame of the armature's object.
        """
        names = np.ravel(skin.sourcebyid[skin.joint_source].data)
        joints = [self._joint(str(name), instance) for name in names]
        if len(skin.vcounts) != len(vertices) or any(joint is None for joint in joints):
            self.notes.append(f"{skin.id}: joints missing; in its bind shape")
            return None
        inverse = np.asarray(skin.sourcebyid[skin.joint_matrix_source].data, float).reshape(-1, 4, 4)
        moves = outer @ np.array(joints) @ inverse @ _bind_shape(skin)
        index = np.asarray(skin.vertex_weight_index).reshape(-1, skin.nindices)
        weight = np.ravel(skin.weights.data)[index[:, skin.offsets[1]]].astype(float)
        vertex = np.repeat(np.arange(len(vertices)), skin.vcounts)
        weight[index[:, skin.offsets[0]] < 0] = 0
        blend, total = np.zeros((len(vertices), 4, 4)), np.zeros(len(vertices))
        np.add.at(blend, vertex, weight[:, None, None] * moves[index[:, skin.offsets[0]]])
        np.add.at(total, vertex, weight)
        blend[total > 0] /= total[total > 0, None, None]
        blend[total <= 0] = moves[0]
        bent = np.einsum("vij,vj->vi", blend[:, :3, :3], vertices) + blend[:, :3, 3]
        return bent if np.isfinite(bent).all() else None

    def _joint(self, name: str, instance: Element) -> np.ndarray | None:
        """(4, 4): where the joint with this sid or id stands; one below the skeleton's roots comes first."""
        roots = [self.nodes.get((e.text or "").strip()[1:]) for e in named(instance, "skeleton")]
        below = [node for root in roots if root is not None for node in named(root.iter(), "node")]
        for node in (*below, *self.worlds):
            if name in (node.get("sid"), node.get("id")) and node in self.worlds:
                return self.worlds[node]
        return None


def _bind_shape(skin: Any) -> np.ndarray:
    return np.asarray(skin.bind_shape_matrix, float).reshape(4, 4)


def _with(raw: RawMesh, **changes: Any) -> RawMesh:
    return RawMesh(**{**raw.__dict__, **changes})


# ---- transforms ------------------------------------------------------------------------------------------


def _matrix(values: np.ndarray) -> np.ndarray:
    return values.reshape(4, 4)


def _translate(values: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = values
    return matrix


def _scale(values: np.ndarray) -> np.ndarray:
    return np.diag([*values[:3], 1.0])


def _rotate(values: np.ndarray) -> np.ndarray:
    """Axis and angle in degrees; Rodrigues' formula."""
    x, y, z, angle = values
    length = np.linalg.norm([x, y, z])
    if length == 0:
        return np.eye(4)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / length
    matrix = np.eye(4)
    turn = np.deg2rad(angle)
    matrix[:3, :3] += np.sin(turn) * cross + (1 - np.cos(turn)) * cross @ cross
    return matrix


def _skew(values: np.ndarray) -> np.ndarray:
    """An angle in degrees and two axes: what lies along the first is shifted along the second."""
    along, shift = values[1:4] / np.linalg.norm(values[1:4]), values[4:7] / np.linalg.norm(values[4:7])
    matrix = np.eye(4)
    matrix[:3, :3] += np.tan(np.deg2rad(values[0])) * np.outer(shift, along)
    return matrix


def _look_at(values: np.ndarray) -> np.ndarray:
    eye, interest, up = values.reshape(3, 3)
    back = (eye - interest) / np.linalg.norm(eye - interest)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, eye], 1)
    return matrix


_TRANSFORMS = {
    "matrix": _matrix,
    "translate": _translate,
    "rotate": _rotate,
    "scale": _scale,
    "lookat": _look_at,
    "skew": _skew,
}
