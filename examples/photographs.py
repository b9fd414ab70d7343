"""How do models take pictures that nobody posed, of other lenses, or of objects anywhere in the picture?

    insideout render MODELS out/lenses --fov 20 --fov-most 75 --views 2 --resolution 128
    python examples/photographs.py out/furniture/data out/several_views out/lenses --steps 1000

MODELS are at least the held-out ones of the dataset. Models of examples/several_views.py are shown one
picture of each, of a random lens, whose camera they are told or not; or the dataset's own picture, half as
large and anywhere in an empty square. Clouds of unposed pictures are turned back by the true cameras, for
the scores alone.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from several_views import ARMS, POINTS, SAMPLES, Experiment, Options
from tyro.conf import Positional
from view_results import judged, turned_back

from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import read_rows
from render.bundle import Bundle
from training.conditioning.cameras import camera_numbers
from training.conditioning.shown import View, cropped
from training.evaluate import Sample
from training.generator import Generator
from training.scores.bootstrap import mean_interval, relative_difference

MODELS = ("today", "first view", "photographs")
"""Arms."""


@dataclass(frozen=True)
class Photographs(Options):
    """Judge models by pictures that nobody posed."""

    pictures: Positional[Path] = Path()
    """A dataset folder with view bundles of the held-out models."""


def sources(experiment: Experiment) -> dict[str, str]:
    """The uid of every row by the hash of its source."""
    rows = (
        row
        for part in read_manifest(experiment.clouds)
        for row in read_rows(experiment.clouds / part.file, ["uid", "source_sha256"])
    )
    return {row["source_sha256"]: row["uid"] for row in rows}


def of_other_lenses(samples: Sequence[Sample], uids: dict[str, str], pictures: Path) -> list[Sample]:
    """The objects, with the views of their bundles in another dataset."""
    found: dict[str, tuple[View, ...]] = {}
    for path in sorted(pictures.glob("views/*/*.zip")):
        with Bundle(path) as bundle:
            if uid := uids.get(bundle.meta["source_sha256"]):
                found[uid] = tuple(
                    View(png(view.rgba), camera_numbers(view.camera.camera_to_world, view.camera.fov))
                    for view in bundle.views()
                )
    return [replace(sample, views=found[sample.uid]) for sample in samples if sample.uid in found]


def png(rgba: np.ndarray) -> bytes:
    """(H, W, 4) uint8 -> a PNG."""
    data = io.BytesIO()
    Image.fromarray(rgba).save(data, "PNG")
    return data.getvalue()


def placed_anywhere(sample: Sample, seed: int) -> Sample:
    """The object, with its first view in an empty square of twice the width."""
    view = sample.views[0]
    assert view.camera is not None
    with Image.open(io.BytesIO(view.image)) as opened:
        rgba = opened.convert("RGBA")
    side = rgba.width
    left, top = np.random.default_rng(seed).integers(0, side + 1, 2).tolist()
    square = Image.new("RGBA", (2 * side, 2 * side))
    square.paste(rgba, (left, top))
    box = torch.tensor([2.0, 1 - 2 * left / side, 2 * top / side - 1])  # of the square, in the picture
    camera = cropped(torch.from_numpy(view.camera), box).numpy()
    return replace(sample, views=(View(png(np.asarray(square)), camera),))


def distances(
    experiment: Experiment, generator: Generator, samples: Sequence[Sample], told: bool
) -> np.ndarray:
    """Chamfer distances (K,) of clouds from each object's first view."""
    given = [sample.views[:1] for sample in samples]
    shown = given if told else [[View(view.image) for view in views] for views in given]
    clouds = experiment.sample(generator, shown, "together", POINTS)
    if generator.config.frame == "first_view" and not told:
        clouds = np.stack([turned_back(some, given, generator.config.crop) for some in clouds])
    return np.mean([judged(clouds[i], samples)[:, 0] for i in range(SAMPLES)], 0)


def main(options: Photographs) -> None:
    """Print a line per model and kind of picture."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    own = experiment.held_out
    lenses = of_other_lenses(own, sources(experiment), options.pictures)
    anywhere = [placed_anywhere(sample, seed) for seed, sample in enumerate(own)]
    print(f"{len(own)} held-out objects, {len(lenses)} of them with pictures of other lenses")
    print("| model | pictures | camera | Chamfer | against the model's own |\n|---|---|---|---|---|")
    for name in MODELS:
        generator = Generator(experiment.train(name, ARMS[name])[0], "cpu")
        base = dict(zip([s.uid for s in own], distances(experiment, generator, own, False), strict=True))
        for title, samples in (
            ("the dataset's", own),
            ("other lenses", lenses),
            ("placed anywhere", anywhere),
        ):
            for told in (True, False) if generator.config.uses_cameras else (False,):
                found = distances(experiment, generator, samples, told)
                change = relative_difference(found, np.array([base[s.uid] for s in samples]))
                mark = f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
                kind = "told" if told else "unknown"
                print(f"| {name} | {title} | {kind} | {mean_interval(found)} | {mark} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Photographs))
