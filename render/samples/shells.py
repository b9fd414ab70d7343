"""Samples of closed surfaces inside one another, in different colors: the simplest known insides.

Objects whose name begins with "Inside" cannot be seen from outside the model: tests rely on it.
"""

from __future__ import annotations

import numpy as np

from render.samples import paint
from render.samples.shapes import Point2, Shape, ball, box, cylinder, joined, lathe, torus
from render.samples.stage import Stage


def nested_shells(stage: Stage) -> None:
    """Three concentric spheres in vertex colors: blue around yellow around red."""
    colored = stage.vertex_colored("Shell colors")
    for name, radius, low, high in (
        ("Shell", 1.0, 0x1B4FB8, 0x58A6F0),
        ("Inside middle", 0.66, 0xE8B71E, 0xFFE58A),
        ("Inside core", 0.33, 0xB0141E, 0xF0605A),
    ):
        shape = ball(radius, 48, 24)
        stage.place(
            name, shape, colored, colors=paint.blend(low, high, shape.vertices[:, 2] / radius / 2 + 0.5)
        )


def cube_in_sphere(stage: Stage) -> None:
    """A rotated orange cube inside a blue sphere."""
    stage.place("Sphere", ball(1.0, 64, 32), stage.paint("Sky blue", 0x4A9BE8))
    stage.place("Inside cube", box(0.8, 0.8, 0.8), stage.paint("Orange", 0xF27B1B), (0, 0, 0), (20, 30, 40))


def walnut(stage: Stage) -> None:
    """A thick, wrinkled shell with a seam and the two halves of the kernel inside."""
    colored = stage.vertex_colored("Walnut colors", roughness=0.8)
    shell, wrinkle = _wrinkled(1.0, 96, 64, 0.05)
    seam = np.exp(-((shell.vertices[:, 1] / 0.06) ** 2))
    shell = Shape(shell.vertices * (1 + 0.06 * seam)[:, None], shell.faces, shell.uv).scaled(1.1, 0.95, 0.92)
    stage.place("Shell", shell, colored, colors=paint.blend(0x6B431F, 0xC99A62, wrinkle * 1.1 + 0.3 * seam))
    lining = ball(0.84, 48, 24).scaled(1.1, 0.95, 0.92).inverted()
    stage.place(
        "Inside lining", lining, colored, colors=np.tile(paint.rgb(0xE3C79A), (len(lining.vertices), 1))
    )
    for side in (-1, 1):
        half, folds = _wrinkled(0.62, 64, 40, 0.12, seed=40 + side)
        half = half.scaled(1.15, 0.52, 0.95).moved(y=side * 0.34)
        stage.place(f"Inside kernel {side}", half, colored, colors=paint.blend(0xA8641E, 0xF6D48C, folds))


def _wrinkled(
    radius: float, segments: int, rings: int, depth: float, seed: int = 3
) -> tuple[Shape, np.ndarray]:
    """A ball with ridges, and the height of each vertex, (V,) float64 in 0..1."""
    base = ball(1.0, segments, rings)
    x, y, z = base.vertices.T
    u, v = np.arctan2(y, x) / (2 * np.pi), np.arcsin(np.clip(z, -1, 1)) / np.pi + 0.5
    bend = paint.noise(u, v, 6, seed) + 0.5 * paint.noise(u, v, 12, seed + 1)
    height = 0.5 + 0.5 * np.cos(2 * np.pi * 5 * bend)
    height = 0.5 + (height - 0.5) * np.sqrt(np.clip(1 - z**2, 0, 1))  # smooth at the poles, where u converges
    return Shape(
        base.vertices * (radius * (1 + depth * (height - 0.5)))[:, None], base.faces, base.uv
    ), height


def bottle(stage: Stage) -> None:
    """Green glass with a thick wall, red wine inside, a label around it, a cork on top."""
    glass = stage.paint("Green glass", 0x7FC98F, glass=0.6, roughness=0.05)
    outer = [
        (0, 0),
        (0.36, 0),
        (0.4, 0.05),
        (0.4, 1.0),
        (0.36, 1.15),
        (0.16, 1.4),
        (0.13, 1.5),
        (0.13, 1.85),
        (0.16, 1.86),
        (0.16, 1.95),
    ]
    inner = [(0.1, 1.95), (0.1, 1.5), (0.13, 1.4), (0.32, 1.13), (0.35, 1.0), (0.35, 0.1), (0, 0.1)]
    stage.place("Bottle", lathe(outer + inner, 40), glass)
    wine = lathe([(0, 0.11), (0.34, 0.11), (0.34, 0.98), (0.31, 1.1), (0.2, 1.24), (0, 1.24)], 40)
    stage.place("Inside wine", wine, stage.paint("Red wine", 0x8A1030, roughness=0.2))
    paper = lathe([(0.402, 0.3), (0.408, 0.3), (0.408, 0.85), (0.402, 0.85)], 40)
    stage.place("Label", _once_up(paper), stage.textured("Label", paint.label(0xF7EDD3, 0x4A3728, 0xB5452C)))
    stage.place(
        "Cork", cylinder(0.11, 0.3, 24, top=0.12), stage.paint("Cork", 0xC89B62, roughness=0.9), (0, 0, 1.78)
    )


def _once_up(shape: Shape) -> Shape:
    """Textured so that v runs once from the lowest point to the highest."""
    z = shape.vertices[[i for face in shape.faces for i in face], 2]
    v = (z - z.min()) / (z.max() - z.min())
    return Shape(shape.vertices, shape.faces, np.column_stack([shape.uv[:, 0], v]))


def watermelon(stage: Stage) -> None:
    """A striped rind, a white layer, and red flesh with black seeds."""
    rind = stage.textured("Rind", paint.stripes(0x7CBF4E, 0x1F6B35, 9, 0.09), roughness=0.35)
    stage.place("Rind", ball(1.0, 48, 24).scaled(0.85, 0.85, 1.0), rind, rotation=(0, 90, 0))
    stage.place(
        "Stalk",
        cylinder(0.05, 0.2, 12, top=0.03).rotated("y", 80),
        stage.paint("Stalk", 0x8A6B3C),
        (0.98, 0, 0),
    )
    stage.place(
        "Inside white", ball(0.92, 40, 20).scaled(1.0, 0.85, 0.85), stage.paint("White rind", 0xEAF3CF)
    )
    stage.place(
        "Inside flesh", ball(0.86, 40, 20).scaled(1.0, 0.85, 0.85), stage.paint("Red flesh", 0xE8384F)
    )
    rng = np.random.default_rng(2)
    pip, pips = ball(0.05, 10, 6).scaled(1.3, 0.8, 0.6), []
    for _ in range(40):
        direction = rng.normal(size=3)
        x, y, z = direction / np.linalg.norm(direction) * rng.uniform(0.35, 0.7) * [0.95, 0.8, 0.8]
        pips.append(pip.rotated("z", float(np.degrees(np.arctan2(y, x)))).moved(x, y, z))
    stage.place("Inside pips", joined(pips), stage.paint("Pips", 0x1D1410))


def matryoshka(stage: Stage) -> None:
    """Three nested wooden dolls in three colors."""
    dolls = (
        ("", 1.0, 0xC8203C, 0xF2B632),
        ("Inside middle ", 0.72, 0x2468B0, 0x8FD06A),
        ("Inside small ", 0.48, 0x6E3FA8, 0xF27FB0),
    )
    for doll, size, dress, scarf in dolls:
        colors = {
            "dress": dress,
            "scarf": scarf,
            "belt": scarf,
            "face": 0xF6D3B0,
            "eyes": 0x2B2B33,
            "mouth": 0xC8203C,
        }
        for part, shape in _doll().items():
            lacquer = stage.paint(f"{doll}{part}", colors[part], roughness=0.3)
            stage.place(f"{doll}{part}", shape.scaled(size, size, size), lacquer, (0, 0, 0.5 * (1 - size)))


def _doll() -> dict[str, Shape]:
    eye = ball(0.035, 12, 8).moved(y=-0.43, z=1.34)
    return {
        "dress": lathe([(0, 0), *_rounded([(0.48, 0), (0.62, 0.4), (0.55, 0.75), (0.35, 1.03)])], 40),
        "scarf": lathe(_rounded([(0.35, 1.03), (0.42, 1.25), (0.38, 1.48), (0.2, 1.64), (0, 1.68)]), 40),
        "belt": torus(0.61, 0.035, 40, 8).moved(z=0.45),
        "face": ball(0.26, 24, 12).scaled(1, 0.45, 1.05).moved(0, -0.32, 1.3),
        "eyes": eye.moved(x=-0.09) + eye.moved(x=0.09),
        "mouth": ball(0.05, 12, 8).scaled(1, 0.5, 0.5).moved(0, -0.43, 1.2),
    }


def _rounded(profile: list[Point2], steps: int = 4) -> list[Point2]:
    """A Catmull-Rom spline through the profile's points, with radii clipped at 0."""
    points = np.array([profile[0], *profile, profile[-1]], dtype=float)
    t = np.arange(steps)[:, None] / steps
    spans = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(points, points[1:], points[2:], points[3:], strict=False)
    ]
    curve = np.maximum(np.concatenate([*spans, points[-1:]]), 0)
    return [(float(r), float(z)) for r, z in curve]
