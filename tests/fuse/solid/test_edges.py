"""Edges and what they join, against sets and a plain union-find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable

import numpy as np
import pytest
import trimesh

from fuse.solid.edges import components, double_cover, edges, grouped, patches

Links = Iterable[tuple[Hashable, Hashable]]


def loose(faces: int, vertices: int, seed: int = 0) -> np.ndarray:
    """Triangles at random, whose edges have one, two or many of them."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(vertices, 3, replace=False) for _ in range(faces)], np.int32)


SOUPS = {
    "few touch": loose(300, 200),
    "most touch": loose(300, 40),
    "edges of many": loose(300, 9),
    "none": loose(0, 9).reshape(0, 3),
}


def sides_of(face: np.ndarray) -> list[tuple[int, int]]:
    return [(int(face[i]), int(face[(i + 1) % 3])) for i in range(3)]


def union_find(nodes: int, links: Links) -> list[int]:
    """The component of each node, numbered by their first nodes."""
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for one, two in links:
        parent[root(one)] = root(two)
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(root(node), len(seen)) for node in range(nodes)]


def across(faces: np.ndarray, allowed: Callable[[int], bool]) -> Links:
    """Each face and the edges that join it to others: those that a number of faces share which is allowed."""
    count = Counter(frozenset(side) for face in faces for side in sides_of(face))
    for number, face in enumerate(faces):
        for side in map(frozenset, sides_of(face)):
            if allowed(count[side]):
                yield number, side


@pytest.mark.parametrize("name", SOUPS)
def test_edges_have_a_number_each_and_two_ways(name: str) -> None:
    faces = SOUPS[name]
    found = edges(faces)
    sides = [side for face in faces for side in sides_of(face)]
    pairs = set(zip(found.number.ravel().tolist(), map(frozenset, sides), strict=True))
    assert len(pairs) == len({number for number, _ in pairs}) == len({side for _, side in pairs})
    assert found.way.ravel().tolist() == [1 if start < end else -1 for start, end in sides]
    count = Counter(map(frozenset, sides))
    assert found.shared(2).ravel().tolist() == [count[frozenset(side)] == 2 for side in sides]


@pytest.mark.parametrize("name", SOUPS)
def test_components_and_patches_are_what_union_find_finds(name: str) -> None:
    faces = SOUPS[name]
    sides = edges(faces)
    assert components(sides).tolist() == union_find(len(faces), across(faces, lambda count: True))
    assert patches(sides).tolist() == union_find(len(faces), across(faces, lambda count: count == 2))


def test_some_faces_are_joined_by_their_own_edges_alone() -> None:
    faces, some = SOUPS["most touch"], np.arange(300) % 3 > 0
    sides = edges(faces).take(some)
    assert components(sides).tolist() == union_find(200, across(faces[some], lambda count: True))
    assert patches(sides).tolist() == union_find(200, across(faces[some], lambda count: count == 2))


def test_the_double_cover_tells_which_faces_of_a_ball_were_flipped() -> None:
    faces = trimesh.creation.icosphere(subdivisions=3).faces.astype(np.int32)
    turned = np.random.default_rng(1).random(len(faces)) < 0.5
    faces[turned] = faces[turned][:, ::-1]
    upright, flipped = double_cover(edges(faces))
    assert ((upright == upright[0]) == (turned == turned[0])).all()
    assert ((flipped == upright[0]) == (turned != turned[0])).all()


def test_the_double_cover_of_a_one_sided_strip_is_one() -> None:
    """Five triangles in a ring, each on the next one's edge, make a Moebius strip."""
    strip = np.array([[i, (i + 1) % 5, (i + 2) % 5] for i in range(5)], np.int32)
    upright, flipped = double_cover(edges(strip))
    assert (upright == flipped).all() and len(set(upright.tolist())) == 1


@pytest.mark.parametrize("most", [3, 1000, 10**12])
def test_pairs_are_sorted_and_equal_ones_are_together(most: int) -> None:
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, 50, 5000), rng.integers(0, most, 5000)
    order, first = grouped(row, column)
    pairs = list(zip(row[order].tolist(), column[order].tolist(), strict=True))
    assert sorted(order.tolist()) == list(range(5000)) and pairs == sorted(pairs)
    assert first.tolist() == [i == 0 or pairs[i] != pairs[i - 1] for i in range(5000)]
