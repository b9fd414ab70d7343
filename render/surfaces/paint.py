"""The base color of a scene's triangles, and their holes, in numpy: for materials that `graph` knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import bpy
import numpy as np

from render.shading.basecolor import Base
from render.srgb import linear_to_srgb
from render.surfaces.corners import Corners
from render.surfaces.graph import Field, Graph
from render.surfaces.rays import HOLE

T = TypeVar("T")


class Paint:
    """What the materials show of a scene's F triangles."""

    def __init__(self, corners: Corners, bases: dict[bpy.types.Material, Base]):
        """Raises `graph.NotKnown` where some material needs Cycles."""
        self._corners = corners
        graph, own = Graph(corners), [bases[material] for material in corners.materials]
        self._colors = [_color(graph, base) for base in own]
        self._alphas = [None if isinstance(base.alpha, float) else graph.value(base.alpha) for base in own]
        cut = np.array([alpha is not None for alpha in self._alphas])
        shown = np.array([not isinstance(base.alpha, float) or base.alpha >= HOLE for base in own])
        self.solid = (shown & ~cut)[corners.material]
        """(F,) bool: triangles without holes."""
        self.cut = cut[corners.material]
        """(F,) bool: triangles whose alpha varies."""

    def present(self, triangle: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(N,) bool: whether there is a surface at places on triangles (N,), by the weights (N, 3) float32 of
        their corners."""
        present = np.ones(len(triangle), bool)
        for alpha, some in self._each(self._alphas, triangle):
            if alpha is not None:
                present[some] = alpha(self._corners.places(triangle[some], weight.take(some, axis=0))) >= HOLE
        return present

    def albedo(self, triangle: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(N, 3) uint8 sRGB at places on triangles (N,), by the weights (N, 3) float32 of their corners."""
        albedo = np.empty((len(triangle), 3), np.uint8)
        for color, some in self._each(self._colors, triangle):
            if isinstance(color, np.ndarray):
                albedo[some] = color
            else:
                albedo[some] = _bytes(color(self._corners.places(triangle[some], weight.take(some, axis=0))))
        return albedo

    def _each(self, values: Sequence[T], triangle: np.ndarray) -> Iterator[tuple[T, np.ndarray]]:
        """The value of each material on the triangles (N,), and which of these have it."""
        material = self._corners.material[triangle]
        order = np.argsort(material, kind="stable")
        ends = np.cumsum(np.bincount(material, minlength=len(values)))
        for value, start, end in zip(values, [0, *ends], ends, strict=False):
            if end > start:
                yield value, order[start:end]


def _color(graph: Graph, base: Base) -> Field | np.ndarray:
    """The field of a material's sRGB colors, or if they are all the same, (3,) uint8."""
    if isinstance(base.color, tuple):
        return _bytes(linear_to_srgb(np.array(base.color, np.float32).clip(0, 1)))
    encoded = graph.encoded(base.color)
    if encoded is not None:
        return encoded
    field = graph.field(base.color)
    return lambda places: linear_to_srgb(np.broadcast_to(field(places), (len(places.weight), 3)).clip(0, 1))


def _bytes(color: np.ndarray) -> np.ndarray:
    return np.floor(color * 255 + 0.5).astype(np.uint8)
