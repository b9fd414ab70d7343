"""Sample machines: a closed engine with its moving parts inside.

Objects whose name begins with "Inside" cannot be seen from outside the model: tests rely on it.
"""

from __future__ import annotations

import numpy as np

from render.samples.shapes import Point3, Shape, box, cylinder, joined, lathe, torus, tube
from render.samples.stage import Stage

CYLINDERS = (-0.42, -0.14, 0.14, 0.42)  # along the shaft, meters
CRANK = 0.38  # the shaft's height
THROW = 0.09  # of the crank pins; the middle two point down


def engine(stage: Stage) -> None:
    """A four-cylinder engine: block, head, sump, manifold and pulleys; moving parts inside."""
    iron = stage.paint("Cast iron", 0x59626E, metallic=0.5, roughness=0.6)
    silver = stage.paint("Aluminium", 0xC4CAD1, metallic=0.8, roughness=0.4)
    red = stage.paint("Red cover", 0xB8232B, roughness=0.35)
    rust = stage.paint("Exhaust", 0x8A4B2A, metallic=0.4, roughness=0.8)
    black = stage.paint("Rubber", 0x1C1C1E, roughness=0.9)
    blue = stage.paint("Filter", 0x2456B0)
    stage.place("Block", box(1.24, 0.46, 0.66, 0.03), iron, (0, 0, 0.59))
    stage.place("Head", box(1.2, 0.44, 0.18, 0.02), silver, (0, 0, 1.0))
    stage.place("Cover", box(1.14, 0.3, 0.12, 0.05), red, (0, 0, 1.14))
    stage.place("Sump", box(1.1, 0.38, 0.2, 0.06), black, (0, 0, 0.2))
    for number, x in enumerate(CYLINDERS):
        stage.place(f"Plug {number}", cylinder(0.025, 0.12, 16), silver, (x, 0, 1.18))
        port: list[Point3] = [(x, 0.2, 0.98), (x, 0.32, 0.96), (x * 0.6, 0.36, 0.8), (x * 0.4, 0.36, 0.62)]
        stage.place(f"Exhaust {number}", tube(port, 0.035, 12), rust)
    stage.place("Collector", tube([(-0.2, 0.36, 0.62), (0.2, 0.36, 0.62)], 0.06, 16), rust)
    stage.place("Filter", cylinder(0.07, 0.16, 24).rotated("x", 90), blue, (0.3, -0.2, 0.5))
    for name, radius, height in (("Crank", 0.13, CRANK), ("Fan", 0.1, 0.86)):
        stage.place(f"{name} pulley", _disc(radius, 0.07), silver, (-0.7, 0, height))
    stage.place("Belt", _belt(), black, (-0.69, 0, 0))
    stage.place("Flywheel", _disc(0.24, 0.06), iron, (0.65, 0, CRANK))
    _moving_parts(stage)


def _moving_parts(stage: Stage) -> None:
    """The hollow of the block and the parts that turn in it."""
    lining = stage.paint("Oily wall", 0xA98B4E, roughness=0.7)
    piston = stage.paint("Piston", 0xE8D9A8, metallic=0.6, roughness=0.3)
    rod = stage.paint("Rod", 0x3E8E5A, metallic=0.3)
    crank = stage.paint("Crankshaft", 0xD9772B, metallic=0.4)
    stage.place("Inside hollow", box(1.14, 0.38, 0.58).inverted(), lining, (0, 0, 0.6))
    stage.place("Inside shaft", tube([(-0.56, 0, CRANK), (0.56, 0, CRANK)], 0.045, 20), crank)
    sleeve = lathe([(0.105, 0), (0.12, 0), (0.12, 0.26), (0.105, 0.26), (0.105, 0)], 32)
    for number, x in enumerate(CYLINDERS):
        pin = CRANK + (THROW if number in (0, 3) else -THROW)
        top = pin + 0.3
        web = box(0.03, 0.13, 0.24, 0.01)
        webs = joined([web.moved(x + side * 0.05, 0, (CRANK + pin) / 2) for side in (-1, 1)])
        journal = tube([(x - 0.05, 0, pin), (x + 0.05, 0, pin)], 0.04, 16)
        stage.place(f"Inside crank {number}", webs + journal, crank)
        stage.place(f"Inside rod {number}", tube([(x, 0, pin), (x, 0, top)], 0.028, 12), rod)
        stage.place(f"Inside piston {number}", cylinder(0.1, 0.12, 32), piston, (x, 0, top - 0.04))
        stage.place(f"Inside sleeve {number}", sleeve, lining, (x, 0, 0.6))


def _disc(radius: float, width: float) -> Shape:
    """An upright wheel with its axle along x, centered at the origin."""
    disc = cylinder(radius, width, 48).moved(z=-width / 2)
    return (disc + torus(radius, width * 0.2, 48, 10)).rotated("y", 90)


def _belt() -> Shape:
    """A closed belt around the two pulleys."""
    upper = np.radians(np.linspace(10, 170, 17))
    lower = np.radians(np.linspace(190, 350, 17))
    path = [(0.0, 0.12 * np.cos(a), 0.86 + 0.12 * np.sin(a)) for a in upper]
    path += [(0.0, 0.15 * np.cos(a), CRANK + 0.15 * np.sin(a)) for a in lower]
    return tube([*path, path[0]], 0.018, 10)
