"""Sample buildings and furniture: a furnished house, a full fridge, a treasure chest, a chair, a village.

Objects whose name begins with "Inside" cannot be seen from outside the model: tests rely on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from render.samples import paint
from render.samples.shapes import Point2, Shape, ball, box, cylinder, joined, lathe, prism, torus, tube
from render.samples.stage import Stage


def gable(length: float, width: float, height: float) -> Shape:
    """A roof along x on z = 0; its texture tiles once per meter and runs down both slopes."""
    return _along_x([(-width / 2, 0), (width / 2, 0), (0, height)], length).tiled(1.0)


def house(stage: Stage) -> None:
    """A brick house with a tiled roof; behind its closed door, a bedroom and a living room."""
    brick = stage.textured("Bricks", paint.masonry(0xB5523B, 0x8E3B2B, 0xD8CFC2, 8))
    tile = stage.textured("Roof tiles", paint.roof_tiles(0x4F5D75, 0x2D3548))
    white = stage.paint("White frame", 0xF4F1E8)
    pane = stage.paint("Window pane", 0x6FA8C9, roughness=0.15)
    stage.place("Walls", box(4.4, 3.4, 2.3).tiled(1.0), brick, (0, 0, 1.15))
    stage.place("Roof", gable(4.9, 4.2, 1.4).tiled(1.2), tile, (0, 0, 2.25))
    stage.place("Chimney", box(0.45, 0.45, 1.3).tiled(0.8), brick, (1.2, 0.7, 3.2))
    stage.place(
        "Lawn", box(5.6, 4.8, 0.06, 0.02), stage.paint("Grass", 0x6FA84F, roughness=0.9), (0, 0, -0.03)
    )
    stage.place("Door", box(0.75, 0.08, 1.5, 0.03), stage.paint("Green door", 0x1F7A5C), (0, -1.7, 0.75))
    stage.place(
        "Knob",
        ball(0.05, 16, 8),
        stage.paint("Brass", 0xD9A93A, metallic=1, roughness=0.3),
        (0.26, -1.77, 0.75),
    )
    for number, (x, y, angle) in enumerate(
        ((-1.35, -1.7, 0), (1.35, -1.7, 0), (-1.1, 1.7, 0), (1.1, 1.7, 0), (2.2, 0, 90), (-2.2, 0, 90))
    ):
        stage.place(f"Frame {number}", box(0.9, 0.1, 0.9, 0.02), white, (x, y, 1.3), (0, 0, angle))
        stage.place(f"Pane {number}", box(0.74, 0.13, 0.74), pane, (x, y, 1.3), (0, 0, angle))
        stage.place(
            f"Bar {number}", box(0.05, 0.15, 0.74) + box(0.74, 0.15, 0.05), white, (x, y, 1.3), (0, 0, angle)
        )
    _house_rooms(stage)


def _house_rooms(stage: Stage) -> None:
    """Plastered walls and two rooms: the bedroom at x < 0, the living room at x > 0."""
    boards = stage.textured("Floor boards", paint.planks(0xC79A62, 0x9A6B3C))
    stage.place(
        "Inside plaster", box(4.2, 3.2, 2.1).inverted(), stage.paint("Plaster", 0xF3DFA8), (0, 0, 1.15)
    )
    stage.place("Inside floor", box(4.15, 3.15, 0.04).tiled(1.0), boards, (0, 0, 0.13))
    stage.place("Inside partition", box(0.1, 3.1, 2.0), stage.paint("Partition", 0xA9C7B0), (0, 0, 1.16))
    stage.place("Inside bed", _bed_frame(), stage.paint("Bed wood", 0x8A5A30), (-1.3, 0.6, 0.15))
    stage.place(
        "Inside blanket", box(1.1, 1.2, 0.22, 0.08), stage.paint("Red blanket", 0xD0283C), (-1.3, 0.4, 0.5)
    )
    stage.place(
        "Inside pillow", box(0.8, 0.35, 0.16, 0.07), stage.paint("Pillow", 0xFFFFFF), (-1.3, 1.2, 0.55)
    )
    stage.place(
        "Inside wardrobe", box(0.5, 1.0, 1.6, 0.03), stage.paint("Wardrobe", 0x2F6DB5), (-1.8, -0.95, 0.95)
    )
    stage.place("Inside sofa", _sofa(), stage.paint("Green sofa", 0x2E9E58), (1.1, 1.1, 0.15))
    stage.place("Inside rug", cylinder(0.6, 0.02), stage.paint("Purple rug", 0x8A4FBF), (1.1, 0.1, 0.16))
    stage.place(
        "Inside table", _table(1.0, 0.7, 0.7), stage.paint("Orange table", 0xE8821E), (1.1, -0.7, 0.15)
    )
    stools = [_table(0.32, 0.32, 0.42).moved(x, y) for x, y in ((0.4, -0.7), (1.8, -0.7))]
    stage.place("Inside stools", joined(stools), stage.paint("Cyan stools", 0x27B8C4), (0, 0, 0.15))
    stage.place("Inside lamp", ball(0.14, 20, 10), stage.paint("Lamp", 0xFFE27A, glow=1.0), (1.1, -0.1, 1.9))


def _bed_frame() -> Shape:
    legs = [box(0.1, 0.1, 0.3).moved(x, y, 0.15) for x in (-0.55, 0.55) for y in (-0.85, 0.85)]
    return joined(
        [box(1.2, 1.8, 0.12, 0.02).moved(z=0.25), box(1.2, 0.08, 0.8, 0.03).moved(0, 0.88, 0.4), *legs]
    )


def _sofa() -> Shape:
    arms = [box(0.18, 0.7, 0.5, 0.06).moved(x, 0, 0.28) for x in (-0.75, 0.75)]
    return joined(
        [box(1.4, 0.65, 0.3, 0.06).moved(z=0.22), box(1.4, 0.2, 0.7, 0.08).moved(0, 0.28, 0.42), *arms]
    )


def _table(x: float, y: float, height: float) -> Shape:
    legs = [
        cylinder(0.03, height, 12).moved(sx * (x / 2 - 0.06), sy * (y / 2 - 0.06))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    return joined([box(x, y, 0.05, 0.02).moved(z=height), *legs])


def fridge(stage: Stage) -> None:
    """A mint fridge with magnets on its closed door and food on its shelves."""
    mint = stage.paint("Mint enamel", 0x8FD3C0, roughness=0.3)
    chrome = stage.paint("Chrome", 0xC8CCD0, metallic=1.0, roughness=0.3)
    door = stage.textured("Magnets", paint.stickers(0x9ADCCA), roughness=0.3)
    stage.place("Case", box(0.8, 0.74, 1.8, 0.05, 3), mint, (0, 0, 0.95))
    stage.place("Door", _upright(0.78, 0.06, 1.22), door, (0, -0.39, 1.2))
    stage.place("Drawer", box(0.78, 0.06, 0.46, 0.02), mint, (0, -0.39, 0.32))
    handles = [
        tube([(0.31, -0.42, z), (0.31, -0.48, z), (0.31, -0.48, z + h), (0.31, -0.42, z + h)], 0.016)
        for z, h in ((0.95, 0.4), (0.4, 0.1))
    ]
    stage.place("Handles", joined(handles), chrome)
    stage.place(
        "Feet",
        joined([cylinder(0.04, 0.06, 12).moved(x, y) for x in (-0.3, 0.3) for y in (-0.28, 0.28)]),
        chrome,
    )
    stage.place(
        "Inside liner", box(0.68, 0.62, 1.66).inverted(), stage.paint("White liner", 0xEEF4FA), (0, 0, 0.95)
    )
    shelves = [box(0.66, 0.58, 0.02).moved(0, 0, z) for z in (0.5, 0.85, 1.2, 1.5)]
    stage.place("Inside shelves", joined(shelves), stage.paint("Blue shelf", 0x6FA6E0))
    _food(stage)


def _upright(x: float, y: float, z: float) -> Shape:
    """A panel whose front shows the texture once, edge to edge."""
    shape = box(x, y, z, 0.02)
    corners = shape.vertices[[i for face in shape.faces for i in face]]
    return Shape(shape.vertices, shape.faces, corners[:, [0, 2]] / [x, z] + 0.5)


def _food(stage: Stage) -> None:
    milk = box(0.12, 0.12, 0.2) + gable(0.12, 0.12, 0.06).moved(z=0.1)
    stage.place("Inside milk", milk, stage.paint("Milk carton", 0x3F7FE0), (-0.22, -0.05, 0.97))
    apples = [ball(0.055, 16, 8).moved(x, y, 0.566) for x, y in ((-0.2, 0), (-0.08, 0.04), (-0.13, -0.1))]
    stage.place("Inside apples", joined(apples), stage.paint("Apple red", 0xD02030))
    cheese = prism([(0, 0), (0.24, -0.07), (0.24, 0.07)], 0.1)
    stage.place("Inside cheese", cheese, stage.paint("Cheese", 0xF6C627), (0.05, 0, 1.215))
    stage.place("Inside melon", ball(0.12, 24, 12), stage.paint("Melon", 0x3F9A3C), (0.16, 0.05, 0.636))
    juice = lathe([(0, 0), (0.05, 0), (0.05, 0.16), (0.02, 0.2), (0.02, 0.24), (0, 0.24)], 20)
    stage.place("Inside juice", juice, stage.paint("Juice", 0xF0821E), (0.1, 0.05, 0.865))
    cake = cylinder(0.13, 0.09, 28)
    stage.place("Inside cake", cake, stage.paint("Pink cake", 0xF49AC2), (-0.16, 0, 1.215))
    eggs = [ball(0.03, 14, 8).scaled(1, 1, 1.3).moved(-0.2 + 0.08 * n, 0.05, 1.552) for n in range(6)]
    stage.place("Inside eggs", joined(eggs), stage.paint("Egg", 0xE8C9A0))
    stage.place(
        "Inside salad",
        joined([ball(0.1, 16, 8).scaled(1, 0.9, 0.7).moved(x, 0, 0.25) for x in (-0.15, 0.12)]),
        stage.paint("Salad", 0x86C232),
    )


def chest(stage: Stage) -> None:
    """A closed treasure chest of planks and iron, full of gold and jewels."""
    wood = stage.textured("Oak planks", paint.planks(0xA8703C, 0x6B4220, 6))
    iron = stage.paint("Iron", 0x5A5F66, metallic=0.9, roughness=0.45)
    gold = stage.paint("Gold", 0xF5C13D, metallic=1.0, roughness=0.3)
    stage.place("Planks", _along_x(_vault(0.5, 0.0, 0.42), 1.6).tiled(0.7), wood)
    outer, inner = _vault(0.53, 0.0, 0.45), _vault(0.49, 0.0, 0.41)
    bands = [_along_x([*outer, *inner[::-1]], 0.12).moved(x) for x in (-0.6, 0, 0.6)]
    stage.place("Bands", joined(bands), iron)
    stage.place("Rim", joined([box(1.62, 0.06, 0.06, 0.01).moved(0, y, 0.7) for y in (-0.5, 0.5)]), iron)
    stage.place("Lock", box(0.22, 0.1, 0.26, 0.03), gold, (0, -0.54, 0.68))
    lining = _along_x(_vault(0.46, 0.04, 0.36), 1.52).inverted()
    stage.place("Inside lining", lining, stage.paint("Purple velvet", 0x5E2A84))
    _treasure(stage, gold)


def _treasure(stage: Stage, gold: Any) -> None:
    rng = np.random.default_rng(11)
    heap = [
        (x, y) for x in np.linspace(-0.62, 0.62, 9) for y in np.linspace(-0.32, 0.32, 5) for _ in range(2)
    ]
    coin = cylinder(0.09, 0.03, 16)
    coins = [coin.rotated("x", rng.uniform(-50, 50)).moved(x, y, 0.15 + 0.4 * rng.random()) for x, y in heap]
    stage.place("Inside coins", joined(coins), gold)
    jewels = (("Ruby", 0xD01440), ("Emerald", 0x12A05C), ("Sapphire", 0x1E50D8))
    for number, (name, color) in enumerate(jewels):
        place = (-0.45 + 0.45 * number, 0, 0.72)
        stage.place(
            f"Inside {name.lower()}", ball(0.13, 8, 4), stage.paint(name, color, roughness=0.1), place
        )


def _vault(half: float, floor: float, rise: float) -> list[Point2]:
    """The outline of a chest's end: walls from `floor` to 0.7, `half` from the center, under an arch."""
    angle = np.linspace(0, np.pi, 17)
    arch = zip((half * np.cos(angle)).tolist(), (0.7 + rise * np.sin(angle)).tolist(), strict=True)
    return [(half, floor), *arch, (-half, floor)]


def _along_x(outline: Sequence[Point2], length: float) -> Shape:
    """A prism of a (y, z) outline, counter-clockwise seen from +x, centered at x = 0."""
    return prism(outline, length).rotated("x", 90).rotated("z", 90).moved(x=-length / 2)


def chair(stage: Stage) -> None:
    """A wooden chair with a checkered cushion."""
    wood = stage.textured("Chair wood", paint.planks(0xD9A566, 0xA87038, 3))
    cloth = stage.textured("Checkered cloth", paint.checks(0xF7F2E6, 0xD1495B))
    legs = [box(0.07, 0.07, 0.45, 0.015).moved(x, -0.2, 0.225) for x in (-0.2, 0.2)]
    posts = [box(0.07, 0.07, 1.0, 0.015).moved(x, 0.2, 0.5) for x in (-0.2, 0.2)]
    slats = [box(0.36, 0.04, 0.08, 0.015).moved(0, 0.2, z) for z in (0.6, 0.74, 0.88)]
    rails = [box(0.04, 0.4, 0.04).moved(x, 0, 0.2) for x in (-0.2, 0.2)]
    frame = joined([*legs, *posts, *slats, *rails, box(0.48, 0.48, 0.05, 0.02).moved(z=0.45)])
    stage.place("Frame", frame.tiled(0.5), wood)
    stage.place("Cushion", box(0.4, 0.38, 0.08, 0.035).tiled(0.4), cloth, (0, -0.01, 0.51))


def village(stage: Stage) -> None:
    """Three instances of a hut collection and five linked pines around a well."""
    wall = stage.textured("Hut wall", paint.masonry(0xE8D5B0, 0xD6BE93, 0xB9A079, 6))
    thatch = stage.textured("Thatch", paint.planks(0xD9A441, 0xA87424, 10))
    hut = stage.group("Hut", [
        stage.place("Hut walls", cylinder(0.8, 1.0, 24).tiled(1.0), wall),
        stage.place("Hut roof", cylinder(1.1, 0.9, 24, top=0), thatch, (0, 0, 0.95)),
        stage.place("Hut door", box(0.4, 0.1, 0.7, 0.03), stage.paint("Door", 0x2F62B0), (0, -0.78, 0.35)),
    ])  # fmt: skip
    for number, (angle, size) in enumerate(((20, 1.0), (140, 0.8), (260, 1.2))):
        x, y = 2.0 * np.cos(np.radians(angle)), 2.0 * np.sin(np.radians(angle))
        stage.instance(f"Hut {number}", hut, (x, y, 0), (0, 0, angle - 90), size)
    crown = stage.paint("Pine", 0x2E7D4F, roughness=0.9)
    pine = joined([cylinder(0.5 - 0.12 * n, 0.7, 16, top=0).moved(z=0.3 + 0.35 * n) for n in range(3)])
    first = stage.place("Pine 0", pine, crown, (2.9, 2.0, 0))
    for number, (x, y) in enumerate(((0.4, 2.8), (-3.0, -0.4), (1.9, -2.2), (-2.4, -2.3)), 1):
        stage.duplicate(f"Pine {number}", first.data, (x, y, 0), (0, 0, 36 * number))
    stage.place(
        "Meadow", cylinder(3.8, 0.1, 48), stage.paint("Meadow", 0x8CBF5A, roughness=0.9), (0, 0, -0.1)
    )
    stage.place(
        "Well", torus(0.35, 0.12, 24, 10).scaled(1, 1, 2), stage.paint("Stone", 0x9BA0A6), (0, 0, 0.15)
    )
    stage.place("Water", cylinder(0.32, 0.1, 24), stage.paint("Water", 0x2F8FD0, roughness=0.1), (0, 0, 0.1))
