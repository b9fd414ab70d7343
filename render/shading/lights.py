"""The light rigs: a white world with soft suns. Suns have no position, so a rig fits every model."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from render.bundle import Camera
from render.config import RenderConfig
from render.seeds import seed_for

WORLD = 0.55  # radiance of the white world
# W/m2 per sun of each rig: a white wall that faces one stays just below white
SUN_PAIR, SUN_RANDOM, SUN_CAMERA = 1.3, 0.9, 1.3
PAIR_DIRECTION = (0.0939, -0.6395, -0.7630)  # of Point-E's sun; the second shines the opposite way
SOFTNESS = np.radians(10)  # angle of a sun's disc


class Lights:
    """The lights of one model; `aim` turns the one that follows the camera."""

    def __init__(self, config: RenderConfig, uid: str):
        self.kind = config.lights
        _white_world()
        if self.kind == "standard":
            self.suns = [_sun(PAIR_DIRECTION, SUN_PAIR), _sun(-np.array(PAIR_DIRECTION), SUN_PAIR)]
        elif self.kind == "random":
            rng = np.random.default_rng(seed_for(config.seed, uid, "lights"))
            self.suns = [_sun(direction, SUN_RANDOM) for direction in rng.normal(size=(4, 3))]
        else:
            self.suns = [_sun((0, 0, -1), SUN_CAMERA)]

    def aim(self, camera: Camera) -> None:
        """Call before each view: the `camera` rig's sun shines along the view direction."""
        if self.kind == "camera":
            _point(self.suns[0], -camera.camera_to_world[:3, 2])

    def turn_off(self) -> None:
        """Leave the scene black."""
        for sun in self.suns:
            sun.hide_render = True
        bpy.context.scene.world = None


def _white_world() -> None:
    world = bpy.data.worlds.new("InsideOut")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (1, 1, 1, 1)
    background.inputs["Strength"].default_value = WORLD
    bpy.context.scene.world = world


def _sun(direction: np.ndarray | tuple[float, ...], energy: float) -> bpy.types.Object:
    light = bpy.data.lights.new("InsideOut sun", "SUN")
    light.energy, light.angle = energy, SOFTNESS
    sun = bpy.data.objects.new("InsideOut sun", light)
    bpy.context.scene.collection.objects.link(sun)
    _point(sun, direction)
    return sun


def _point(sun: bpy.types.Object, direction: np.ndarray | tuple[float, ...]) -> None:
    sun.rotation_mode = "QUATERNION"
    sun.rotation_quaternion = Vector(tuple(direction)).to_track_quat("-Z", "Y")
