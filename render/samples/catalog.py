"""The list of sample models: each one's path, caption, category and builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from render.samples import buildings, machines, shells, things, vehicles
from render.samples.stage import Stage


class Sample(NamedTuple):
    """A sample model: where it lies, what it shows, and what builds it."""

    path: str
    """Relative to the output folder; its suffix is the format. A model of several files has a folder."""
    caption: str
    category: str
    build: Callable[[Stage], None]


SAMPLES = (
    Sample("car.glb", "a red car with tinted windows", "vehicle", vehicles.car),
    Sample("bus.fbx", "a yellow bus with a white roof", "vehicle", vehicles.bus),
    Sample("sailboat.abc", "a red sailboat with a white and a yellow sail", "vehicle", things.sailboat),
    Sample("house/house.gltf", "a brick house with a gray tiled roof", "building", buildings.house),
    Sample("village.blend", "a village of three thatched huts among pines", "building", buildings.village),
    Sample("fridge/fridge.obj", "a mint fridge with magnets on its door", "furniture", buildings.fridge),
    Sample("chest.glb", "a wooden treasure chest with iron bands", "furniture", buildings.chest),
    Sample("chair/chair.dae", "a wooden chair with a checkered cushion", "furniture", buildings.chair),
    Sample("desk_lamp.glb", "a teal desk lamp with a glowing bulb", "furniture", things.lamp),
    Sample("nested_shells.glb", "a blue ball", "shape", shells.nested_shells),
    Sample("cube_in_sphere.usdc", "a sky blue sphere", "shape", shells.cube_in_sphere),
    Sample("toy_blocks.usda", "five toy blocks in five colors", "toy", things.blocks),
    Sample("matryoshka.glb", "a Russian doll in a red dress and a yellow scarf", "toy", shells.matryoshka),
    Sample("robot.fbx", "a blue and gray robot with glowing eyes", "toy", things.robot),
    Sample("snowman.ply", "a snowman with a black hat and a red scarf", "toy", things.snowman),
    Sample("walnut.ply", "a brown walnut", "food", shells.walnut),
    Sample("watermelon.usdz", "a striped green watermelon", "food", shells.watermelon),
    Sample("bottle.glb", "a green glass bottle with a label and a cork", "food", shells.bottle),
    Sample("donut.glb", "a donut with pink icing and sprinkles", "food", things.donut),
    Sample("mushroom/mushroom.obj", "a red mushroom with white spots", "plant", things.mushroom),
    Sample("tree.glb", "a tree with green leaves", "plant", things.tree),
    Sample("globe.glb", "a globe of the earth in a brass stand", "object", things.globe),
    Sample("trophy.glb", "a gold trophy cup with two handles", "object", things.trophy),
    Sample("engine.glb", "a gray engine with a red cover", "object", machines.engine),
    Sample("gear.stl", "a gray gear wheel", "object", things.gear),
)
