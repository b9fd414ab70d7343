"""Sample vehicles with hollow, closed bodies: seats, engine and steering wheel are inside.

Objects whose name begins with "Inside" cannot be seen from outside the model: tests rely on it.
"""

from __future__ import annotations

import numpy as np

from render.samples.shapes import (
    Point3,
    Shape,
    ball,
    box,
    cylinder,
    joined,
    loft,
    rounded_ring,
    torus,
    tube,
)
from render.samples.stage import Stage


def wheel(radius: float, width: float) -> tuple[Shape, Shape]:
    """Upright tire and hub with the axle along y through the origin."""
    tire = torus(radius - width * 0.4, width * 0.4, 32, 10).scaled(1, 1, 1.25).rotated("x", 90)
    hub = cylinder(radius - width * 0.45, width * 0.8).moved(z=-width * 0.4).rotated("x", 90)
    return tire, hub


def car(stage: Stage) -> None:
    """A red car with front seats, a bench, a dashboard, a steering wheel, an engine and a tank inside."""
    red = stage.paint("Red lacquer", 0xC8202A, metallic=0.2, roughness=0.3)
    glass = stage.paint("Tinted glass", 0x22344A, metallic=0.3, roughness=0.15)
    chrome = stage.paint("Chrome", 0xD5D8DC, metallic=1.0, roughness=0.25)
    rubber = stage.paint("Rubber", 0x1C1C1E, roughness=0.9)
    lamp = stage.paint("Headlight", 0xFFF3C4, glow=0.8)
    tail = stage.paint("Tail light", 0xE03A1E, glow=0.3)
    stage.place("Body", _car_body(), red)
    stage.place("Windows", _car_cabin(), glass)
    stage.place("Roof", box(1.32, 1.2, 0.07, 0.03).moved(-0.37, 0, 1.5), red)
    stage.place("Pillars", _car_pillars(), red)
    for number, (x, y) in enumerate((x, y) for x in (-1.3, 1.35) for y in (-0.83, 0.83)):
        for part, shape, material in zip(("Tire", "Hub"), wheel(0.36, 0.26), (rubber, chrome), strict=True):
            stage.place(f"{part} {number}", shape, material, (x, y, 0.36))
    for side in (-1, 1):
        stage.place(
            f"Headlight {side}", ball(0.13, 20, 10).scaled(0.5, 1, 0.9), lamp, (2.08, side * 0.55, 0.68)
        )
        stage.place(f"Tail light {side}", box(0.08, 0.34, 0.14, 0.03), tail, (-2.09, side * 0.52, 0.74))
        stage.place(f"Handle {side}", box(0.22, 0.05, 0.04, 0.015), chrome, (-0.35, side * 0.86, 0.86))
    for end in (-2.1, 2.1):
        stage.place(f"Bumper {end}", box(0.16, 1.6, 0.16, 0.05), chrome, (end, 0, 0.48))
    _car_inside(stage)


def _car_body() -> Shape:
    """Hood, sides and trunk as one skin, open only under the cabin (x -1.35..0.75, |y| < 0.68)."""
    stations = [  # x, half width, bottom, middle, top
        (-2.12, 0.70, 0.46, 0.62, 0.78), (-2.05, 0.80, 0.36, 0.66, 0.92), (-1.80, 0.85, 0.32, 0.66, 0.99),
        (-1.35, 0.86, 0.30, 0.66, 1.02), (0.75, 0.86, 0.30, 0.66, 1.02), (1.40, 0.85, 0.31, 0.64, 0.95),
        (1.95, 0.80, 0.34, 0.60, 0.86), (2.12, 0.68, 0.44, 0.56, 0.72),
    ]  # fmt: skip
    rings = np.array([
        [(x, y, z) for y, z in (
            (w * 0.9, low), (w, low + 0.08), (w, mid),
            (w * 0.97, top - 0.04), (w * 0.9, top), (w * 0.79, top),
            (-w * 0.79, top), (-w * 0.9, top), (-w * 0.97, top - 0.04),
            (-w, mid), (-w, low + 0.08), (-w * 0.9, low),
        )]
        for x, w, low, mid, top in stations
    ])  # fmt: skip
    skin = loft(rings)
    x, y, z = skin.centers().T
    return skin.without((np.abs(x + 0.3) < 0.5) & (np.abs(y) < 0.1) & (z > 0.9))


def _car_cabin() -> Shape:
    """The windows, open at the bottom, where they reach into the body."""
    low = rounded_ring((-1.45, 0.86), (-0.76, 0.76), 0.94, 0.06)
    high = rounded_ring((-1.0, 0.24), (-0.58, 0.58), 1.52, 0.1)
    return loft(np.array([low, high]), bottom=False)


def _car_pillars() -> Shape:
    feet = [(-1.43, 0.745), (0.84, 0.745)]
    tops = [(-0.97, 0.56), (0.21, 0.56)]
    bars: list[tuple[Point3, Point3]] = []
    for side in (-1, 1):
        bars += [((a, side * b, 0.95), (c, side * d, 1.5)) for (a, b), (c, d) in zip(feet, tops, strict=True)]
        bars.append(((-0.3, side * 0.765, 0.95), (-0.35, side * 0.59, 1.5)))
    return joined([tube(bar, 0.035, 10) for bar in bars])


def _car_inside(stage: Stage) -> None:
    leather = stage.paint("Beige leather", 0xE0B878, roughness=0.7)
    black = stage.paint("Dashboard", 0x30343C)
    steel = stage.paint("Engine steel", 0x8E97A3, metallic=0.8, roughness=0.4)
    blue = stage.paint("Engine cover", 0x2E6FD0)
    orange = stage.paint("Tank", 0xE88A1A)
    stage.place("Inside floor", box(2.4, 1.4, 0.04).moved(-0.3, 0, 0.4), stage.paint("Carpet", 0x4A6B4F))
    for number, (x, y, width) in enumerate(((-0.05, 0.36, 0.5), (-0.05, -0.36, 0.5), (-0.8, 0, 1.1))):
        stage.place(f"Inside seat {number}", seat(width, 0.5, 0.6), leather, (x, y, 0.45))
    stage.place("Inside dashboard", box(0.25, 1.25, 0.3, 0.06), black, (0.62, 0, 0.82))
    stage.place("Inside steering wheel", _steering_wheel(), black, (0.4, 0.36, 0.95), (0, -65, 0))
    stage.place("Inside engine", box(0.6, 0.6, 0.32, 0.05), steel, (1.4, 0, 0.62))
    stage.place(
        "Inside cylinders",
        joined([cylinder(0.06, 0.08, 16).moved(1.2 + 0.13 * n, 0, 0.78) for n in range(4)]),
        blue,
    )
    stage.place("Inside tank", box(0.4, 1.0, 0.3, 0.08), orange, (-1.7, 0, 0.62))


def seat(width: float, depth: float, height: float) -> Shape:
    """Cushion, back and headrest of a seat that faces +x, standing on z = 0."""
    cushion = box(depth, width, 0.2, 0.06).moved(0, 0, 0.14)
    back = box(0.14, width, height - 0.1, 0.06).rotated("y", -8).moved(-depth / 2 + 0.02, 0, height / 2 + 0.1)
    rest = box(0.1, width * 0.5, 0.14, 0.04).moved(-depth / 2 - 0.06, 0, height + 0.08)
    return cushion + back + rest


def _steering_wheel() -> Shape:
    spokes = [
        tube([(0, 0, 0), (0.17 * np.cos(a), 0.17 * np.sin(a), 0)], 0.015, 8) for a in np.arange(3) * 2.0944
    ]
    return joined([torus(0.17, 0.02, 28, 10), ball(0.045, 16, 8), *spokes])


def bus(stage: Stage) -> None:
    """A yellow bus with rows of blue seats, a driver's seat and poles inside."""
    yellow = stage.paint("Yellow", 0xF2B21B, roughness=0.4)
    glass = stage.paint("Bus glass", 0x1E3140, roughness=0.2)
    rubber = stage.paint("Tire", 0x202022, roughness=0.9)
    hub = stage.paint("Hub", 0xC9CDD2, metallic=0.9, roughness=0.35)
    stage.place("Body", box(8.0, 2.5, 2.5, 0.25, 4), yellow, (0, 0, 1.75))
    stage.place("Roof", box(7.2, 2.0, 0.2, 0.08), stage.paint("White roof", 0xF5F3EC), (0, 0, 3.03))
    stripes = [box(7.6, 0.06, 0.14, 0.02).moved(y=1.25 * side) for side in (-1, 1)]
    stage.place("Stripes", joined(stripes), stage.paint("Black stripe", 0x2A2A2A), (0, 0, 1.35))
    panes = [
        box(0.95, 0.04, 0.8, 0.01).moved(-3.1 + 1.13 * n, 1.25 * side, 2.25)
        for n in range(6)
        for side in (-1, 1)
    ]
    stage.place("Side windows", joined(panes), glass)
    screens = [box(0.06, 2.0, 0.9, 0.02).moved(x=4.0 * end) for end in (-1, 1)]
    stage.place("Windscreens", joined(screens), glass, (0, 0, 2.2))
    stage.place("Doors", box(0.8, 0.06, 1.9, 0.02), stage.paint("Door", 0x3A6EA5), (3.3, -1.26, 1.6))
    for number, (x, y) in enumerate((x, y) for x in (-2.6, 2.3) for y in (-1.15, 1.15)):
        for part, shape, material in zip(("Tire", "Hub"), wheel(0.5, 0.36), (rubber, hub), strict=True):
            stage.place(f"{part} {number}", shape, material, (x, y, 0.5))
    lamp = stage.paint("Lamp", 0xFFF6D0, glow=0.8)
    for side in (-1, 1):
        stage.place(f"Lamp {side}", ball(0.16, 20, 10).scaled(0.4, 1, 1), lamp, (4.0, side * 0.8, 1.0))
    _bus_inside(stage)


def _bus_inside(stage: Stage) -> None:
    blue = stage.paint("Blue cloth", 0x2454B8, roughness=0.9)
    first = stage.place("Inside seat 0 0", seat(0.48, 0.5, 0.75), blue, (-3.0, -0.85, 0.85))
    places = [(r, n, -3.0 + 0.85 * r, y) for r in range(7) for n, y in enumerate((-0.85, -0.35, 0.35, 0.85))]
    for row, number, x, y in places[1:]:
        stage.duplicate(f"Inside seat {row} {number}", first.data, (x, y, 0.85))
    stage.place("Inside floor", box(7.4, 2.2, 0.05), stage.paint("Gray floor", 0x8A8F94), (0, 0, 0.8))
    stage.place("Inside driver", seat(0.55, 0.55, 0.8), stage.paint("Red cloth", 0xC02C2C), (3.1, 0.6, 0.85))
    stage.place(
        "Inside wheel",
        _steering_wheel().scaled(1.3, 1.3, 1.3),
        stage.paint("Black", 0x181818),
        (3.55, 0.6, 1.5),
        (0, -60, 0),
    )
    poles = [cylinder(0.025, 1.95, 12).moved(x, 0, 0.85) for x in (-2.2, 0, 2.2)]
    stage.place("Inside poles", joined(poles), stage.paint("Orange poles", 0xF07818))
