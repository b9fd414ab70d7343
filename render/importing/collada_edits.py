"""What pycollada does not read, rewritten before it reads: animations, holes in polygons, 1.5's textures."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np
from mathutils import geometry

from render.failures import DAMAGE
from render.importing.collada_parts import named, numbers, tag

_TARGET = re.compile(r"([^/]+)((?:/[^/.()]+)+)(?:\.(\w+)|((?:\(\d+\))+))?")
_MEMBERS = {"X": 0, "Y": 1, "Z": 2, "ANGLE": 3}
_MOST_HOLED = 100_000  # polygons with holes of one element


def show_first_frame(root: Element) -> None:
    """Give every animated transform its value at its first key.

    A scale of zero, from which a part grows, stays what the node says.
    """
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    for channel in named(root.iter(), "channel"):
        with contextlib.suppress(*DAMAGE):
            _apply(channel, by_id)


def _apply(channel: Element, by_id: dict[str | None, Element]) -> None:
    target = _TARGET.fullmatch(channel.get("target", ""))
    element = _addressed(target, by_id) if target else None
    if target is None or element is None:
        return
    first, now = _first_value(by_id[channel.get("source", "")[1:]], by_id), numbers(element)
    if target[3]:
        now[_MEMBERS[target[3].upper()]] = first[0]
    elif target[4]:
        place = [int(number) for number in re.findall(r"\d+", target[4])]
        now[place[0] * 4 + place[1] if len(place) == 2 else place[0]] = first[0]
    else:
        now[:] = first[: len(now)]
    if tag(element) != "scale" or now.all():
        element.text = " ".join(map(repr, now.tolist()))


def _addressed(target: re.Match[str], by_id: dict[str | None, Element]) -> Element | None:
    """The transform of a node that `ID/sid/sid` means."""
    element = by_id.get(target[1])
    for sid in target[2].split("/")[1:]:
        below = element.iter() if element is not None else ()
        element = next((one for one in below if one.get("sid") == sid), None)
    return element


def _first_value(sampler: Element, by_id: dict[str | None, Element]) -> np.ndarray:
    """The numbers of a sampler's output at its earliest key."""
    sources = {one.get("semantic"): by_id[one.get("source", "")[1:]] for one in named(sampler, "input")}
    times, values = (numbers(next(named(sources[name], "float_array"))) for name in ("INPUT", "OUTPUT"))
    return values.reshape(len(times), -1)[times.argmin()]


def name_surfaces(root: Element) -> None:
    """Write textures as in Collada 1.4: a path right in its element, an image behind a surface."""
    for start in named(root.iter(), "init_from"):
        path = next(named(start, "ref"), None)
        if path is not None:
            start.text = path.text
    for element in root.iter():
        for parameter in list(named(element, "newparam")):
            sampler = next(named(parameter, "sampler2D"), None)
            image = next(named(sampler, "instance_image"), None) if sampler is not None else None
            if sampler is not None and image is not None:
                _stand_between(element, parameter, sampler, image.get("url", "")[1:])


def _stand_between(effect: Element, parameter: Element, sampler: Element, image: str) -> None:
    """Add a surface of `image` that a sampler reads."""
    space, _, _ = parameter.tag.rpartition("newparam")
    name = f"surface of {parameter.get('sid')}"
    added = effect.makeelement(f"{space}newparam", {"sid": name})
    surface = effect.makeelement(f"{space}surface", {"type": "2D"})
    for holder, tag_, text in ((surface, "init_from", image), (sampler, "source", name)):
        part = effect.makeelement(f"{space}{tag_}", {})
        part.text = text
        holder.append(part)
    added.append(surface)
    effect.insert(list(effect).index(parameter), added)


def fill_holes(root: Element) -> None:
    """Replace each polygon with holes by triangles around them."""
    by_id = {element.get("id"): element for element in root.iter() if element.get("id")}
    for element in list(named(root.iter(), "polygons")):
        outlines = list(named(element, "ph"))[:_MOST_HOLED]
        inputs = list(named(element, "input"))
        with contextlib.suppress(*DAMAGE):
            positions = _positions(inputs, by_id) if outlines else np.zeros((0, 3))
            for outline in outlines:
                for corners in _triangles(outline, inputs, positions):
                    triangle = element.makeelement(element.tag.removesuffix("polygons") + "p", {})
                    triangle.text = " ".join(map(str, corners.ravel().tolist()))
                    element.append(triangle)


def _positions(inputs: list[Element], by_id: dict[str | None, Element]) -> np.ndarray:
    """(V, 3): where the vertices are that a primitive's VERTEX input numbers."""
    vertices = next(by_id[one.get("source", "")[1:]] for one in inputs if one.get("semantic") == "VERTEX")
    source = next(
        by_id[one.get("source", "")[1:]]
        for one in named(vertices, "input")
        if one.get("semantic") == "POSITION"
    )
    accessor = next(named(source.iter(), "accessor"))
    width = int(accessor.get("stride", "3"))
    values = numbers(next(named(source, "float_array")))
    return values[: len(values) // width * width].reshape(-1, width)[:, :3]


def _triangles(outline: Element, inputs: list[Element], positions: np.ndarray) -> Iterator[np.ndarray]:
    """(3, stride) indices of each triangle between a polygon's outline and its holes."""
    stride = 1 + max(int(one.get("offset", "0")) for one in inputs)
    vertex = next(int(one.get("offset", "0")) for one in inputs if one.get("semantic") == "VERTEX")
    rings = [numbers(ring).astype(int).reshape(-1, stride) for ring in outline if tag(ring) in ("p", "h")]
    corners = np.concatenate(rings)
    points = [[tuple(positions[corner[vertex]]) for corner in ring] for ring in rings]
    for triangle in geometry.tessellate_polygon(points):
        yield corners[list(triangle)]
