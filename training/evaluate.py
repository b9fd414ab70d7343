"""Do generated clouds resemble their objects? Compare them with the true clouds of held-out objects.

    print(evaluate(EvaluateSettings(Path("DATASET"), Path("DATASET/checkpoints/tiny"))).summary())

It computes the Chamfer distance of every generated cloud to every object's true cloud: a model that has
learned its data comes nearest to its own object, and much nearer than to the others. `training.scores` adds
the measures that papers use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fuse.dataset.layout import open_dataset
from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import Shard, ShardError
from fuse.dataset.storage import publish_bytes
from render.failures import UserError
from training import checkpoints
from training.conditioning.masks import Behind
from training.conditioning.shown import View
from training.config import TrainConfig
from training.data.drawn import Draws, as_condition
from training.data.groups import require_views
from training.data.point_mix import UnionOrder
from training.data.rows import OpenShards, Recipe, RowGroup, usable_rows
from training.data.shuffle import Group
from training.generator import Generator
from training.output.cloud_files import write_points
from training.output.model_folder import is_model
from training.output.pictures import draw_sheet
from training.scores.clouds import distinct, from_channels
from training.scores.distances import chamfer_matrix
from training.scores.report import Report, score
from training.settings import EvaluateSettings, SeeInside

EVALUATIONS = "evaluations"
"""In a run's folder: a JSON file per evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation; distances are in the normalized frame, whose longest side is 2."""

    objects: int
    nearest: int
    """Generated clouds whose nearest true cloud is their own object's."""
    nearest_colored: int
    """The same with all channels, xyz and color in [-1, 1]: for objects of the same shape."""
    own: float
    """Mean Chamfer distance to the own object's cloud."""
    other: float
    """Mean Chamfer distance to the other objects' clouds."""
    ratio: float
    """own / other."""
    own_color: float
    """Mean color difference between a generated point and the nearest true point, levels of 255."""
    uids: list[str]
    distances: list[list[float]]
    """Row i, column j: from the cloud generated for object i to object j."""
    objects_of: str = ""
    """Whose objects these are: held out, or learned."""
    scores: Report | None = None
    """Every score, with its floor and ceiling."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"scores": self.scores.record() if self.scores else None}

    def summary(self) -> str:
        """One line per object, worst last, and the means."""
        matrix = np.array(self.distances)
        lines = [f"{'own':>7} {'others':>7} {'nearest':>7}  object -> nearest object"]
        for i in np.argsort(matrix.diagonal()):
            rest = np.delete(matrix[i], i)
            found = int(matrix[i].argmin())
            taken = "" if found == i else f" -> {self.uids[found]}"
            lines.append(f"{matrix[i, i]:7.3f} {rest.mean():7.3f} {rest.min():7.3f}  {self.uids[i]}{taken}")
        lines.append(
            f"own object nearest for {self.nearest} of {self.objects} ({self.nearest_colored} by shape and "
            f"color); Chamfer distance to the own cloud {self.own:.3f}, to the others {self.other:.3f} "
            f"(ratio {self.ratio:.2f}); color off by {self.own_color:.0f} of 255"
        )
        lines[:0] = [*self.scores.lines(), ""] if self.scores else []
        lines[:0] = [self.objects_of] if self.objects_of else []
        return "\n".join(lines)


class Recorded(Protocol):
    """What is kept of an evaluation."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...


@dataclass(frozen=True)
class Sample:
    """One object of the dataset."""

    uid: str
    views: tuple[View, ...]
    cloud: np.ndarray  # (C, N) float32, the network's frame
    low_res: np.ndarray | None = None  # (C, n), an upsampler's coarse cloud
    caption: str | None = None


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Generate a cloud for one image of each of some objects and compare them with the true clouds.

    Raises ShardError where the dataset cannot be read, CheckpointError for a bad checkpoint.
    """
    generator = Generator(settings.checkpoint, segmenter=settings.segmenter, **settings.opening)
    config, behind = generator.config, shown_behind(generator, settings)
    if settings.untrained:
        model = checkpoints.build_model(config, generator.encoder.features)
        generator.model = model.to(generator.device).eval().requires_grad_(False)
    points = config.points if config.model == "upsample" else settings.points
    clouds = open_dataset(settings.dataset).clouds
    split, objects_of = chosen_split(clouds, config, settings.split)
    views = range(settings.view, settings.view + (settings.views or config.views_most))
    samples = read_samples(clouds, config, settings.count, views, points, split, behind=behind)
    low = [sample.low_res for sample in samples if sample.low_res is not None]
    drawn = Draws(Path(config.draws)) if config.draws else None
    if drawn is not None and config.model == "upsample":
        low = [drawn[sample.uid].clouds[0] for sample in samples]
    merged = drawn is not None and config.model == "merge"
    generated = generator.sample(
        [{"image": sample.views, "text": sample.caption, None: None}[generator.takes] for sample in samples],
        points,
        settings.sampling,
        np.stack(low) if low else None,
        drawn=as_condition([drawn[sample.uid] for sample in samples]) if drawn and merged else None,
    )
    if settings.pictures:
        settings.pictures.parent.mkdir(parents=True, exist_ok=True)
        true = np.stack([sample.cloud for sample in samples])
        draw_sheet([sample.views[0].image for sample in samples], generated, true).save(settings.pictures)
    # Scores compare with twice the points, so that the floor is of two samples without a common point.
    truth = samples
    if settings.scores:
        truth = read_samples(
            clouds, config, settings.count, views, 2 * points, split, captions=bool(settings.clip)
        )
    if settings.clouds:
        _write_clouds(settings.clouds, truth, generated)
    found = replace(compare(samples, generated), objects_of=objects_of)
    return replace(found, scores=_score(truth, generated, settings)) if settings.scores else found


def shown_behind(generator: Generator, settings: EvaluateSettings) -> SeeInside:
    """What is shown behind the views. UserError where the settings do not fit the model."""
    if len(settings.see_inside) > 1:
        raise UserError("One evaluation shows one kind of masks; `compare_insides` compares several.")
    if not generator.sees_inside:
        if settings.see_inside and settings.see_inside != ("none",):
            raise UserError(f"{generator.path}: this model sees no inside. Train one with --see-inside.")
        return "none"
    return settings.see_inside[0] if settings.see_inside else "predicted" if generator.segmenter else "true"


def keep(found: Recorded, settings: EvaluateSettings) -> Path | None:
    """Write the evaluation to RUN/evaluations, where the report finds it. None where there is no run."""
    path = settings.checkpoint
    newest = path if is_model(path) else checkpoints.newest(path)
    if settings.untrained or not newest.name.endswith(".pt"):
        return None
    name = f"{newest.stem}-{settings.split}" if settings.split else newest.stem
    file = newest.parent / EVALUATIONS / f"{name}.json"
    publish_bytes(json.dumps(found.record()).encode(), file)
    return file


def chosen_split(clouds: Path, config: TrainConfig, asked: str | None) -> tuple[str, str]:
    """The split to evaluate on, and a line that says whose objects these are."""
    if asked:
        return asked, f"objects of split {asked!r}" + (" (learned)" if asked == config.split else "")
    held = config.val_split
    if any(
        len(group.rows)
        for part in read_manifest(clouds)
        for group in _groups(clouds / part.file, held, config)
    ):
        return held, f"held-out objects (split {held!r})"
    return (
        config.split,
        f"the dataset holds none out (split {held!r} is empty): objects that the model has learned",
    )


def _score(truth: list[Sample], generated: np.ndarray, settings: EvaluateSettings) -> Report:
    made = [from_channels(sample.uid, cloud) for sample, cloud in zip(truth, generated, strict=True)]
    true = [distinct(from_channels(sample.uid, sample.cloud)) for sample in truth]
    captions = {sample.uid: sample.caption for sample in truth if sample.caption}
    return score(made, true, settings, captions)


def _write_clouds(folder: Path, truth: list[Sample], generated: np.ndarray) -> None:
    for name, clouds in (("generated", generated), ("true", [sample.cloud for sample in truth])):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for sample, cloud in zip(truth, clouds, strict=True):
            write_points(folder / name / f"{sample.uid}.ply", cloud)


def compare(samples: list[Sample], generated: np.ndarray) -> Evaluation:
    """The results for clouds (K, C, N) generated for K samples."""
    true = np.stack([sample.cloud for sample in samples])
    matrix = chamfer_matrix(generated[:, :3].swapaxes(1, 2), true[:, :3].swapaxes(1, 2))
    colored = chamfer_matrix(generated.swapaxes(1, 2), true.swapaxes(1, 2))
    own, count = matrix.diagonal().mean(), len(samples)
    other = (matrix.sum() - matrix.trace()) / max(1, count * (count - 1))
    return Evaluation(
        objects=count,
        nearest=int((matrix.argmin(1) == np.arange(count)).sum()),
        nearest_colored=int((colored.argmin(1) == np.arange(count)).sum()),
        own=float(own),
        other=float(other),
        ratio=float(own / other) if other else float("nan"),
        own_color=float(np.mean([_color_gap(a, b) for a, b in zip(generated, true, strict=True)])),
        uids=[sample.uid for sample in samples],
        distances=matrix.tolist(),
    )


def read_samples(
    clouds: Path,
    config: TrainConfig,
    count: int,
    views: Sequence[int],
    points: int,
    split: str,
    captions: bool = False,
    behind: SeeInside = "none",
) -> list[Sample]:
    """`count` rows of a split, evenly spread over the shards, with these views and `points` points.

    `captions`: read them although the model is conditioned on images; `behind` is what is shown behind the
    views.
    """
    parts, masks = read_manifest(clouds), behind == "true"
    groups = [group for part in parts for group in _groups(clouds / part.file, split, config, masks)]
    places = [(at, row) for at, group in enumerate(groups) for row in group.rows.tolist()]
    if not places:
        raise ShardError(f"{clouds}: no rows of split {split!r}. Fuse first, or choose another --split.")
    texts = config.encoder == "clip_text"
    shown = config.encodes and not texts
    images = shown or all(group.views > max(views) for group in groups)  # else for the pictures alone
    recipe = Recipe(config.mix, points, config.condition_points, points, config.target, images)
    recipe = replace(recipe, cameras=config.uses_cameras, captions=captions or texts, masks=masks)
    chosen = {places[i] for i in np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)}
    shards, union, samples = OpenShards(), UnionOrder(), []
    for at in sorted({at for at, _ in chosen}):
        if images and max(views) >= groups[at].views:
            raise ShardError(
                f"{groups[at].path}: it has {groups[at].views} views, so no view {max(views)}. See --view."
            )
        table = shards.read(groups[at], views, recipe, np.random.default_rng(0))
        guess: Behind = "predicted" if behind == "predicted" else None
        samples += [_sample(table, row, recipe, union, guess) for a, row in sorted(chosen) if a == at]
    return samples


def _groups(path: Path, split: str, config: TrainConfig, masks: bool = False) -> list[Group]:
    """The row groups of a shard, with the rows that have points of the model's kind."""
    with Shard(path) as shard:
        if masks:
            require_views(shard, masks)
        rows = [usable_rows(shard, i, split, config.mix.kind) for i in range(shard.row_groups)]
        return [Group(path, i, some, shard.views) for i, some in enumerate(rows)]


def _sample(table: RowGroup, row: int, recipe: Recipe, union: UnionOrder, guess: Behind = None) -> Sample:
    cloud = np.empty((recipe.mix.channels, recipe.points), np.float32)
    low = np.empty((recipe.mix.channels, recipe.low_points), np.float32)
    table.fill(row, cloud, low, union)
    caption = table.caption(row) if recipe.captions else None
    which = range(len(table.views))
    cameras = table.cameras(row, which) if recipe.cameras else [None] * len(which)
    behind: list[Behind] = list(table.masks(row, which)) if recipe.masks else [guess] * len(which)
    views = tuple(map(View, table.images(row, which), cameras, behind))
    return Sample(table.uid(row), views, cloud, low if recipe.low_points else None, caption)


def _color_gap(generated: np.ndarray, true: np.ndarray) -> float:
    """Clouds (C, N): the mean color difference to the nearest true point, levels of 255, or NaN."""
    if len(generated) < 6:
        return float("nan")
    gaps = ((generated[:3, :, None] - true[:3, None, :]) ** 2).sum(0)
    return float(np.abs(generated[3:6] - true[3:6, gaps.argmin(1)]).mean() * 127.5)
