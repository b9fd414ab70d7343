"""How do models take pictures that nobody posed: of other lenses, or of objects anywhere in the picture?

    insideout render MODELS out/lenses --fov 20 --fov-most 75 --views 2 --resolution 128
    python examples/photographs.py out/furniture/data out/several_views out/lenses --steps 1000

MODELS are the held-out ones of the dataset. Models of examples/several_views.py are shown one picture of
each, of a random lens, whose camera they are told or not; or the dataset's own picture, half as large and
anywhere in an empty square. Clouds of unposed pictures are turned back by the true cameras, for the scores
alone. With `--learn out/lenses-train`, rendered likewise from models of the training split, the recipe for
photographs is trained on those models: with the dataset's pictures of them, and with those of other lenses.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tyro
from PIL import Image
from several_views import ARMS, POINTS, SAMPLES, Arm, Experiment, Options
from tyro.conf import Positional
from view_results import judged, turned_back

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import image_column, read_rows, write_shard
from render.bundle import Bundle
from training.checkpoints import build_reader
from training.conditioning.cameras import camera_numbers
from training.conditioning.shown import View, cropped
from training.evaluate import Sample
from training.generator import Generator
from training.scores.bootstrap import mean_interval, relative_difference

Views = tuple[View, ...]


@dataclass(frozen=True)
class Photographs(Options):
    """Judge models by pictures that nobody posed."""

    arms: tuple[str, ...] = ("today", "first view", "photographs")
    """The models to judge."""
    pictures: Positional[Path] = Path()
    """A dataset folder with view bundles of the held-out models."""
    learn: Path | None = None
    """A dataset folder with view bundles of training models."""


def views_by_source(pictures: Path) -> dict[str, Views]:
    """The views of all bundles of a dataset, by the hashes of their sources."""
    found = {}
    for path in sorted(pictures.glob("views/*/*.zip")):
        with Bundle(path) as bundle:
            found[bundle.meta["source_sha256"]] = tuple(
                View(png(view.rgba), camera_numbers(view.camera.camera_to_world, view.camera.fov))
                for view in bundle.views()
            )
    return found


def of_other_lenses(experiment: Experiment, pictures: Path) -> list[Sample]:
    """The held-out objects that have bundles in `pictures`, with those views."""
    views, of = views_by_source(pictures), {}
    for part in read_manifest(experiment.clouds):
        for row in read_rows(experiment.clouds / part.file, ["uid", "source_sha256"]):
            of[row["uid"]] = views.get(row["source_sha256"])
    return [replace(sample, views=found) for sample in experiment.held_out if (found := of[sample.uid])]


def relensed(experiment: Experiment, views: dict[str, Views], replaced: bool) -> Path:
    """A dataset of the training rows that have such views; with those pictures or with their own."""
    target = Layout(experiment.options.out / ("other-lenses" if replaced else "own-lenses"))
    target.clouds.mkdir(parents=True, exist_ok=True)
    parts = []
    for part in read_manifest(experiment.clouds):
        whole = pq.read_table(experiment.clouds / part.file)
        pairs = zip(whole["split"].to_pylist(), whole["source_sha256"].to_pylist(), strict=True)
        chosen = [
            (i, views[source])
            for i, (split, source) in enumerate(pairs)
            if split == "train" and source in views
        ]
        rows = [with_views(whole.slice(i, 1), some) if replaced else whole.slice(i, 1) for i, some in chosen]
        if rows:
            write_shard(target.clouds / part.file, rows, "lenses", {}, row_group_mib=16)
            parts.append(describe(target.clouds / part.file))
    write_manifest(target.clouds, parts)
    return target.root


def with_views(row: pa.Table, views: Views) -> pa.Table:
    """The row with other first pictures, and their cameras in place of its own."""
    poses = [view.camera for view in views if view.camera is not None]
    cameras = [{"camera_to_world": pose[:16], "fov": 2 * float(np.arctan(pose[16]))} for pose in poses]
    new = {image_column(index): view.image for index, view in enumerate(views)} | {"cameras": cameras}
    for name, value in new.items():
        at = row.schema.get_field_index(name)
        field = row.schema.field(at)
        row = row.set_column(at, field, pa.array([value], field.type))
    return row


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


def cutting(checkpoint: Path) -> Generator:
    """A model that cuts pictures to what their alpha shows, though it has not been trained so."""
    generator = Generator(checkpoint, "cpu")
    generator.config = generator.config.model_copy(update={"crop": True})
    generator.reader = build_reader(generator.config, generator.encoder, generator.device)
    return generator


def lines(experiment: Experiment, name: str, generator: Generator, lenses: Sequence[Sample]) -> None:
    """Print how a model takes each kind of picture, against the dataset's own ones without a camera."""
    own = experiment.held_out
    base = {s.uid: d for s, d in zip(own, distances(experiment, generator, own, False), strict=True)}
    anywhere = [placed_anywhere(sample, seed) for seed, sample in enumerate(own)]
    for title, samples in (("the dataset's", own), ("other lenses", lenses), ("placed anywhere", anywhere)):
        for told in (True, False) if generator.config.uses_cameras else (False,):
            found = distances(experiment, generator, samples, told)
            change = relative_difference(found, np.array([base[s.uid] for s in samples]))
            mark = f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
            kind = "told" if told else "unknown"
            print(f"| {name} | {title} | {kind} | {mean_interval(found)} | {mark} |", flush=True)


def main(options: Photographs) -> None:
    """Print a line per model and kind of picture."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    lenses = of_other_lenses(experiment, options.pictures)
    print(f"{len(experiment.held_out)} held-out objects, {len(lenses)} of them with pictures of other lenses")
    print("| model | pictures | camera | Chamfer | against the model's own |\n|---|---|---|---|---|")
    if not options.learn:
        for name in options.arms:
            checkpoint, _ = experiment.train(name, ARMS[name])
            lines(experiment, name, Generator(checkpoint, "cpu"), lenses)
            if name == "first view":
                lines(experiment, f"{name}, cut in use", cutting(checkpoint), lenses)
        return
    views = views_by_source(options.learn)
    arm = Arm(ARMS["photographs"].changes | {"views": min(map(len, views.values()))})
    for name, replaced in (("own lenses", False), ("other lenses", True)):
        data = relensed(experiment, views, replaced)
        lines(experiment, name, Generator(experiment.train(name, arm, data)[0], "cpu"), lenses)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Photographs))
