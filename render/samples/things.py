"""Sample objects with one feature each: metal, emission, cut-out leaves, vertex colors, several roots."""

from __future__ import annotations

import numpy as np

from render.samples import paint
from render.samples.shapes import Shape, ball, box, cylinder, joined, lathe, loft, prism, sheet, torus, tube
from render.samples.stage import Stage


def globe(stage: Stage) -> None:
    """A textured globe, tilted by 23 degrees, in a brass stand."""
    brass = stage.paint("Brass", 0xC99A3B, metallic=1.0, roughness=0.3)
    stage.place(
        "Globe",
        ball(1.0, 48, 24),
        stage.textured("Earth", paint.globe(), roughness=0.4),
        (0, 0, 1.7),
        (0, 23, 0),
    )
    angle = np.radians(np.linspace(-113, 67, 25))
    arc = np.column_stack([1.12 * np.cos(angle), np.zeros(25), 1.7 + 1.12 * np.sin(angle)])
    stage.place("Meridian", tube(arc, 0.05), brass)
    stage.place("Axis", tube([(0, 0, -1.15), (0, 0, 1.15)], 0.03), brass, (0, 0, 1.7), (0, 23, 0))
    foot = lathe([(0, 0), (0.7, 0), (0.68, 0.1), (0.2, 0.2), (0.12, 0.35), (0.12, 0.62), (0, 0.62)])
    stage.place("Foot", foot, stage.paint("Mahogany", 0x6E2F1A, roughness=0.35))


def trophy(stage: Stage) -> None:
    """A gold cup with two handles on a black base."""
    gold = stage.paint("Gold", 0xF2B830, metallic=1.0, roughness=0.25)
    cup = [(0, 0.3), (0.32, 0.3), (0.3, 0.36), (0.1, 0.45), (0.08, 0.75), (0.2, 0.85), (0.48, 1.1),
           (0.58, 1.45), (0.62, 1.8), (0.58, 1.8), (0.54, 1.46), (0.44, 1.14), (0, 0.95)]  # fmt: skip
    stage.place("Cup", lathe(cup, 40), gold)
    angle = np.radians(np.linspace(-75, 80, 17))
    handle = np.column_stack([0.52 + 0.32 * np.cos(angle), np.zeros(17), 1.4 + 0.28 * np.sin(angle)])
    stage.place("Handles", tube(handle, 0.04) + tube(handle * [-1, 1, 1], 0.04), gold)
    stage.place(
        "Plinth", box(0.8, 0.8, 0.3, 0.04), stage.paint("Black stone", 0x26262B, roughness=0.3), (0, 0, 0.15)
    )
    stage.place(
        "Plate",
        box(0.4, 0.04, 0.14, 0.01),
        stage.paint("Silver", 0xD8DADF, metallic=1.0, roughness=0.2),
        (0, -0.4, 0.15),
    )


def tree(stage: Stage) -> None:
    """A tree with 260 leaves: cards cut out by alpha."""
    rng = np.random.default_rng(5)
    bark = stage.paint("Bark", 0x7A5230, roughness=0.9)
    trunk = [lathe([(0, 0), (0.22, 0), (0.13, 0.5), (0.1, 1.5), (0, 1.7)], 16)]
    for angle, rise in ((0.3, 0.9), (2.2, 1.05), (4.1, 1.2), (5.3, 1.35)):
        tip = (0.7 * np.cos(angle), 0.7 * np.sin(angle), rise + 0.55)
        trunk.append(tube([(0, 0, rise - 0.15), tip], 0.04, 8))
    stage.place("Trunk", joined(trunk), bark)
    card = sheet(
        np.array([[(-0.5, 0, 0), (0.5, 0, 0)], [(-0.5, 0, 1), (0.5, 0, 1)]], dtype=float), wrap=False
    )
    leaves = []
    for _ in range(260):
        direction = rng.normal(size=3)
        x, y, z = direction / np.linalg.norm(direction) * rng.uniform(0.65, 1.0) * [0.95, 0.95, 0.75] + [
            0,
            0,
            2.0,
        ]
        size = rng.uniform(0.3, 0.42)
        rotated = (
            card.scaled(size, size, size).rotated("x", rng.uniform(-80, 80)).rotated("z", rng.uniform(0, 360))
        )
        leaves.append(rotated.moved(x, y, z - 0.2))
    stage.place("Leaves", joined(leaves), stage.textured("Leaf", paint.leaf(), cut_out=True))


def lamp(stage: Stage) -> None:
    """A desk lamp with a glowing bulb."""
    teal = stage.paint("Teal lacquer", 0x1E8C93, roughness=0.35)
    steel = stage.paint("Steel", 0xBFC4C9, metallic=1.0, roughness=0.3)
    stage.place("Foot", lathe([(0, 0), (0.42, 0), (0.42, 0.05), (0.36, 0.1), (0, 0.12)]), teal)
    arms = tube([(0, 0, 0.1), (-0.35, 0, 0.85)], 0.03) + tube([(-0.35, 0, 0.85), (0.35, 0, 1.45)], 0.03)
    stage.place("Arms", arms, steel)
    stage.place("Joint", ball(0.07, 20, 10), teal, (-0.35, 0, 0.85))
    shade = lathe([(0.42, -0.3), (0.12, 0.12), (0, 0.14), (0, 0.11), (0.1, 0.09), (0.4, -0.3), (0.42, -0.3)])
    stage.place("Shade", shade, teal, (0.42, 0, 1.42), (0, -25, 0))
    stage.place("Bulb", ball(0.17, 24, 12), stage.paint("Bulb", 0xFFE08A, glow=4.0), (0.53, 0, 1.14))


def donut(stage: Stage) -> None:
    """Pink icing; its sprinkles are linked duplicates of four meshes."""
    rng = np.random.default_rng(8)
    stage.place("Dough", torus(1.0, 0.45, 48, 20), stage.paint("Dough", 0xD99A52, roughness=0.8), (0, 0, 0.4))
    stage.place("Icing", _icing(), stage.paint("Icing", 0xF47FB0, roughness=0.3), (0, 0, 0.4))
    bar = cylinder(0.035, 0.2, 8).moved(z=-0.1).rotated("x", 90)
    inks = (("Blue", 0x2F7FE8), ("Yellow", 0xFFD43A), ("Green", 0x35C46A), ("White", 0xFFFFFF))
    meshes = [
        stage.place(f"{ink} sprinkle", bar, stage.paint(ink, code), (1.0, 0.1 * n, 0.91)).data
        for n, (ink, code) in enumerate(inks)
    ]
    for number in range(76):
        around, across = rng.uniform(0, 2 * np.pi), rng.uniform(-1.0, 1.0)
        r = 1.0 + 0.5 * np.sin(across)
        at = (r * np.cos(around), r * np.sin(around), 0.4 + 0.5 * np.cos(across))
        tilt = (0, float(np.degrees(across)), float(np.degrees(around)))
        stage.duplicate(f"Sprinkle {number}", meshes[number % 4], at, tilt)


def _icing() -> Shape:
    """The upper half of a slightly thicker ring, with a wavy rim."""
    around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    rim = 0.15 * np.sin(around * 7) + 0.08 * np.sin(around * 11)
    rows = []
    for share in np.linspace(-1, 1, 17)[::-1]:
        across = share * (1.75 + np.where(share > 0, rim, rim[::-1]))
        thick = 0.49 if abs(share) < 0.99 else 0.44
        r = 1.0 + thick * np.sin(across)
        rows.append(np.stack([r * np.cos(around), r * np.sin(around), thick * np.cos(across)], axis=-1))
    return sheet(np.array(rows))


def blocks(stage: Stage) -> None:
    """Toy blocks: five root objects, each rotated and moved, without a common parent."""
    arch_angle = np.linspace(0, np.pi, 13)
    arch = [
        (0.5, 0),
        (0.5, 0.6),
        (-0.5, 0.6),
        (-0.5, 0),
        *((-0.28 * np.cos(a), 0.32 * np.sin(a)) for a in arch_angle),
    ]
    stage.place(
        "Red cube", box(0.9, 0.9, 0.9, 0.05), stage.paint("Red", 0xE23B3B), (-0.9, 0, 0.45), (0, 0, 25)
    )
    stage.place(
        "Blue drum", cylinder(0.4, 0.9), stage.paint("Blue", 0x2F6FE0), (0.55, -0.35, 0.4), (0, 90, 40)
    )
    stage.place(
        "Yellow wedge",
        prism([(-0.5, 0), (0.5, 0), (0, 0.7)], 0.6),
        stage.paint("Yellow", 0xF7C92E),
        (-0.95, 0.25, 0.9),
        (90, 0, 35),
    )
    stage.place("Green arch", prism(arch, 0.5), stage.paint("Green", 0x3FAE5A), (0.3, 0.95, 0), (90, 0, 40))
    stage.place("Purple ball", ball(0.42), stage.paint("Purple", 0x8C4FC9), (-0.3, -0.95, 0.42), (30, 20, 10))


def mushroom(stage: Stage) -> None:
    """A red toadstool with white spots."""
    cap = [
        (0.22, 0.72),
        (0.5, 0.68),
        (0.85, 0.7),
        (0.95, 0.78),
        (0.88, 1.0),
        (0.68, 1.22),
        (0.38, 1.37),
        (0, 1.42),
    ]
    spots = stage.textured("Spots", paint.spots(0xD42A2A, 0xFFF7EE, 4, 0.3), roughness=0.4)
    stage.place("Cap", _from_above(lathe([(0, 0.74), *cap], 40), 1.6), spots)
    stem = [(0, 0), (0.3, 0), (0.36, 0.1), (0.26, 0.4), (0.22, 0.75), (0, 0.78)]
    stage.place("Stem", lathe(stem, 28), stage.paint("Stem", 0xF3E7CF, roughness=0.8))
    stage.place(
        "Skirt",
        lathe([(0.24, 0.5), (0.4, 0.42), (0.41, 0.44), (0.23, 0.58), (0.24, 0.5)], 28),
        stage.paint("Skirt", 0xE6D3AE),
    )
    stage.place(
        "Moss",
        lathe([(0, 0), (0.75, 0), (0.55, 0.08), (0, 0.12)], 28),
        stage.paint("Moss", 0x5E9E3E, roughness=0.9),
    )


def _from_above(shape: Shape, meters: float) -> Shape:
    """Textured by projection straight down, one tile per `meters`."""
    corners = shape.vertices[[i for face in shape.faces for i in face]]
    return Shape(shape.vertices, shape.faces, corners[:, :2] / meters)


def gear(stage: Stage) -> None:
    """A gear wheel with a round hole: an STL, so without color."""
    teeth, outline = 14, []
    for n in range(teeth):
        for share, radius in ((0.0, 0.8), (0.22, 0.8), (0.3, 1.0), (0.62, 1.0), (0.72, 0.8)):
            angle = 2 * np.pi * (n + share) / teeth
            outline.append((radius * np.cos(angle), radius * np.sin(angle)))
    outer = np.array(outline)
    around = np.linspace(0, 2 * np.pi, len(outer), endpoint=False)
    inner = 0.28 * np.column_stack([np.cos(around), np.sin(around)])
    rows = [
        np.column_stack([ring, np.full(len(ring), z)])
        for ring, z in ((inner, 0), (outer, 0), (outer, 0.35), (inner, 0.35), (inner, 0))
    ]
    hub = lathe([(0.28, -0.08), (0.45, -0.08), (0.45, 0.43), (0.28, 0.43), (0.28, -0.08)], 32)
    plain = stage.paint("Plain", 0xB0B0B0)
    stage.place("Gear", sheet(np.array(rows)), plain)
    stage.place("Hub", hub, plain)


def snowman(stage: Stage) -> None:
    """Three snowballs, hat, scarf and carrot in vertex colors, without textures."""
    colored = stage.vertex_colored("Snowman colors")
    buttons = [ball(0.07, 12, 8).moved(0, -0.62 + 0.02 * n, 1.35 + 0.25 * n) for n in range(2)]
    eyes = [ball(0.06, 12, 8).moved(x, -0.37, 2.35) for x in (-0.15, 0.15)]
    nose = cylinder(0.09, 0.5, 16, top=0).rotated("x", 90).moved(0, -0.38, 2.22)
    arms = [tube([(side * 0.55, 0, 1.5), (side * 1.15, 0, 1.95)], 0.04, 8) for side in (-1, 1)]
    hat = lathe([(0, 2.6), (0.6, 2.6), (0.6, 2.66), (0.36, 2.68), (0.36, 3.2), (0, 3.2)])
    snow = ball(0.9).moved(z=0.8) + ball(0.65).moved(z=1.5) + ball(0.45).moved(z=2.25)
    parts = (("Snow", snow, 0xF2F6FB), ("Hat", hat, 0x2B2B33), ("Coal", joined(buttons + eyes), 0x1E1E22),
             ("Nose", nose, 0xF28C28), ("Arms", joined(arms), 0x7A5230),
             ("Scarf", torus(0.45, 0.13, 32, 10).moved(z=1.95), 0xD62839))  # fmt: skip
    for name, shape, color in parts:
        stage.place(name, shape, colored, colors=_one_color(shape, color))


def sailboat(stage: Stage) -> None:
    """A sailing boat in vertex colors."""
    colored = stage.vertex_colored("Boat colors")
    t = np.linspace(-1, 1, 17)
    rings = []
    for depth in (0.0, 0.25, 0.6, 1.0):
        width = 0.55 * (1 - np.abs(t) ** 2.5) * depth**0.6 + 0.01
        side = np.column_stack([t * (0.9 + 0.3 * depth), -width, np.full(17, 0.5 * depth)])
        rings.append(np.concatenate([side, (side * [1, -1, 1])[::-1]]))
    hull = loft(np.array(rings))
    sail = prism([(0.08, 0), (1.0, 0.1), (0.08, 1.9)], 0.03).rotated("x", 90).moved(0, 0.015, 0.75)
    jib = prism([(-0.08, 0.05), (-0.08, 1.5), (-0.95, 0)], 0.03).rotated("x", 90).moved(0, 0.015, 0.7)
    deck = hull.scaled(0.96, 0.92, 0.1).moved(z=0.47)
    parts = (("Hull", hull, 0xB8342C), ("Deck", deck, 0xD9A566), ("Sail", sail, 0xFBF6E9),
             ("Jib", jib, 0xF2B632), ("Mast", cylinder(0.04, 2.3, 12).moved(z=0.45), 0x6E4A2A),
             ("Cabin", box(0.6, 0.4, 0.24, 0.05).moved(0.35, 0, 0.62), 0x2F6FB5))  # fmt: skip
    for name, shape, color in parts:
        stage.place(name, shape, colored, colors=_one_color(shape, color))


def _one_color(shape: Shape, color: int) -> np.ndarray:
    return np.tile(paint.rgb(color), (len(shape.vertices), 1))


def robot(stage: Stage) -> None:
    """A robot of many parts in a hierarchy of parents."""
    blue = stage.paint("Robot blue", 0x3F7FBF, metallic=0.3, roughness=0.4)
    gray = stage.paint("Robot gray", 0x9AA3AD, metallic=0.8, roughness=0.4)
    glow = stage.paint("Robot eye", 0x7CF5E0, glow=1.5)
    body = stage.place("Body", box(0.9, 0.6, 1.0, 0.1, 3), blue, (0, 0, 1.2))
    head = stage.place("Head", box(0.6, 0.5, 0.45, 0.08, 3), gray, (0, 0, 0.82), parent=body)
    stage.place("Neck", cylinder(0.12, 0.2, 20), gray, (0, 0, 0.45), parent=body)
    stage.place(
        "Aerial",
        cylinder(0.02, 0.25, 10) + ball(0.06, 16, 8).moved(z=0.28),
        stage.paint("Orange", 0xF28C28),
        (0, 0, 0.22),
        parent=head,
    )
    stage.place(
        "Panel", box(0.5, 0.06, 0.4, 0.02), stage.paint("Panel", 0xF5E6C8), (0, -0.3, 0.05), parent=body
    )
    for side in (-1, 1):
        stage.place(f"Eye {side}", ball(0.09, 20, 10), glow, (side * 0.14, -0.24, 0.05), parent=head)
        arm = stage.place(
            f"Arm {side}",
            cylinder(0.09, 0.75, 20).moved(z=-0.75),
            gray,
            (side * 0.55, 0, 0.4),
            (0, side * -14, 0),
            parent=body,
        )
        stage.place(f"Hand {side}", ball(0.15, 20, 10), blue, (0, 0, -0.8), parent=arm)
        leg = stage.place(
            f"Leg {side}", cylinder(0.12, 0.6, 20).moved(z=-0.6), gray, (side * 0.24, 0, -0.45), parent=body
        )
        stage.place(f"Foot {side}", box(0.32, 0.5, 0.16, 0.05), blue, (0, -0.08, -0.65), parent=leg)
