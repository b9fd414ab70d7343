"""How good predicted masks are on objects that a segmenter has not seen: IoU beside that of no prediction.

The baselines look at no picture beyond its alpha: all of the object; and where in a view the training
objects, or those of the category, have insides. Whatever has a threshold has the one that gives the training
objects the highest mean IoU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fuse.dataset.layout import open_dataset
from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import Row, Shard, ShardError, decode, image_column, interior_column, layers_column
from fuse.preview.cutaway import marked, on_gray
from training import checkpoints
from training.conditioning.masks import square_means
from training.learner import pick_device
from training.scores.bootstrap import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    ratio_difference,
    ratio_interval,
)
from training.segmentation.head import SIDE
from training.segmentation.segmenter import Segmenter, enlarged
from training.settings import EvaluateSettings

PREDICTED, WHOLE = "predicted", "whole object"
MEAN, CATEGORY = "mean mask", "mean mask of the category"
_THRESHOLDS = np.linspace(0.05, 0.95, 19)
_LEARNED = 400
"""Training objects, evenly chosen, that the mean masks are of."""
_TUNED = 48
"""Those among them that the prediction's threshold is of."""


@dataclass(frozen=True)
class Subject:
    """An object's views and the truth about them."""

    uid: str
    category: str | None
    images: Sequence[bytes]
    cover: np.ndarray  # (V, H, W) bool, where the object is
    interior: np.ndarray  # (V, H, W) bool
    layers: np.ndarray  # (V, H, W) uint8


@dataclass(frozen=True)
class MaskEvaluation:
    """IoU of predicted and of baseline masks over held-out objects, each object's views pooled."""

    objects_of: str
    views: int
    threshold: float
    """Probability from which a predicted pixel counts as interior."""
    ious: dict[str, Interval]
    """The mean over objects."""
    gains: dict[str, Difference]
    """What the prediction's IoU is above a baseline's, per object."""
    pooled: dict[str, Interval]
    """The IoU of all objects' pixels together, in which an object counts by its inside."""
    pooled_gains: dict[str, Interval]
    off: Interval
    """How far the predicted number of surfaces is from the true one, mean over the object's pixels."""
    off_mean: Interval
    """The same for the mean number of the training objects."""
    marked: Interval
    """Share of the object's pixels predicted as interior, where there is none."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """A table in lines."""
        known = self.ious[PREDICTED].count
        lines = [f"{self.objects_of}, {self.views} views each; IoU over the {known} that have an inside"]
        for kind, ious, gains in (
            ("mean over objects", self.ious, self.gains),
            ("all pixels together", self.pooled, self.pooled_gains),
        ):
            lines.append(f"{kind}:")
            for name, found in ious.items():
                beside = f"   prediction better by {_signed(gains[name])}" if name in gains else ""
                lines.append(f"  {name:26} {found}{beside}")
        lines.append(f"the prediction's threshold is {self.threshold:.2f}")
        lines.append(f"number of surfaces off by {self.off}; the training objects' mean by {self.off_mean}")
        if self.marked.count:
            lines.append(f"without an inside ({self.marked.count}): {self.marked} of the object marked")
        return "\n".join(lines)


def is_segmenter(checkpoint: Path) -> bool:
    """Whether a checkpoint is a segmenter's. CheckpointError for none."""
    return checkpoints.config_of(checkpoints.load(checkpoint), checkpoint).segments


def evaluate_masks(settings: EvaluateSettings) -> MaskEvaluation:
    """Predict the masks of held-out objects' views and compare with the true ones.

    Raises ShardError where the dataset cannot be read or has no masks, CheckpointError for a bad checkpoint.
    """
    segmenter = Segmenter(settings.checkpoint, pick_device(settings.device), settings.encoder_path)
    clouds, config = open_dataset(settings.dataset).clouds, segmenter.config
    views = settings.views or 4
    split = settings.split or config.val_split
    held = list(subjects(clouds, split, settings.count, settings.view, views))
    if not held and settings.split is None:
        split, held = config.split, list(subjects(clouds, config.split, settings.count, settings.view, views))
    if not held:
        raise ShardError(f"{clouds}: no rows of split {split!r}. Fuse first, or choose another --split.")
    learned = list(subjects(clouds, config.split, _LEARNED, 0, views))
    means, threshold = MeanMasks.of(learned), _threshold(segmenter, learned[:: -(-len(learned) // _TUNED)])
    objects_of = f"{len(held)} objects of split {split!r}" + (" (learned)" if split == config.split else "")
    predicted = [_predicted(segmenter, subject) for subject in held]
    if settings.pictures:
        settings.pictures.parent.mkdir(parents=True, exist_ok=True)
        shown = [(one, interior) for one, (interior, _) in zip(held, predicted, strict=True)]
        draw_masks(shown).save(settings.pictures)
    return compare(held, predicted, means, threshold, objects_of)


def compare(
    held: Sequence[Subject],
    predicted: Sequence[tuple[np.ndarray, np.ndarray]],
    means: MeanMasks,
    threshold: float,
    objects_of: str,
) -> MaskEvaluation:
    """The scores of K predictions: probabilities and numbers of surfaces, (V, H, W) float32 each."""
    counts: dict[str, list[tuple[int, int]]] = {name: [] for name in (PREDICTED, WHOLE, MEAN, CATEGORY)}
    off, off_mean, wrong = [], [], []
    for subject, (interior, layers) in zip(held, predicted, strict=True):
        sure = (interior >= threshold) & subject.cover
        masks = {
            PREDICTED: sure,
            WHOLE: subject.cover,
            MEAN: means.mask(subject, None),
            CATEGORY: means.mask(subject, subject.category),
        }
        if subject.interior.any():
            for name, mask in masks.items():
                counts[name].append(overlap(mask, subject.interior))
        off.append(np.abs(layers - subject.layers)[subject.cover].mean())
        off_mean.append(np.abs(means.layers - subject.layers)[subject.cover].mean())
        if not subject.interior.any():
            wrong.append(sure.sum() / max(1, subject.cover.sum()))
    pairs = {name: tuple(np.array(values, float).reshape(-1, 2).T) for name, values in counts.items()}
    ious = {name: both / either for name, (both, either) in pairs.items()}
    others, own = list(ious)[1:], PREDICTED
    return MaskEvaluation(
        objects_of,
        len(held[0].images),
        threshold,
        {name: mean_interval(values) for name, values in ious.items()},
        {name: paired_difference(ious[own], ious[name]) for name in others},
        {name: ratio_interval(*pair) for name, pair in pairs.items()},
        {name: ratio_difference(pairs[own], pairs[name]) for name in others},
        mean_interval(np.array(off)),
        mean_interval(np.array(off_mean)),
        mean_interval(np.array(wrong)),
    )


def overlap(these: np.ndarray, those: np.ndarray) -> tuple[int, int]:
    """Pixels of the intersection and of the union of two masks, (V, H, W) bool, over all views."""
    return int((these & those).sum()), int((these | those).sum())


def iou(these: np.ndarray, those: np.ndarray) -> float:
    """Intersection over union of two masks, (V, H, W) bool, over all views; NaN where both are empty."""
    both, either = overlap(these, those)
    return both / either if either else float("nan")


def _threshold(segmenter: Segmenter, learned: Sequence[Subject]) -> float:
    """The probability that gives training objects the highest mean IoU; 0.5 if none has an inside."""
    having = [(one, _predicted(segmenter, one)[0]) for one in learned if one.interior.any()]
    if not having:
        return 0.5
    means = [
        np.mean([iou((interior >= threshold) & one.cover, one.interior) for one, interior in having])
        for threshold in _THRESHOLDS
    ]
    return float(_THRESHOLDS[int(np.argmax(means))])


@dataclass(frozen=True)
class MeanMasks:
    """Where training objects have insides: the share of interior at each place of a view, and thresholds."""

    places: dict[str | None, np.ndarray]  # by category, None: all; (S, S) float32
    thresholds: dict[str | None, float]
    layers: float
    """The mean number of surfaces at a pixel of an object."""

    @classmethod
    def of(cls, learned: Iterable[Subject]) -> MeanMasks:
        """The means over training objects."""
        cells: dict[str | None, list[np.ndarray]] = {None: []}
        counts = []
        for subject in learned:
            pairs = zip(subject.interior, subject.cover, strict=True)
            own = np.stack([square_means(np.stack(pair), SIDE) for pair in pairs])
            counts.append(subject.layers[subject.cover].mean())
            for name in {None, subject.category}:
                cells.setdefault(name, []).append(own)
        if not counts:
            raise ShardError("No training objects to take mean masks of. Fuse with fewer held out.")
        places = {name: _place(np.concatenate(own)) for name, own in cells.items()}
        thresholds = {name: _best(places[name], own) for name, own in cells.items()}
        return cls(places, thresholds, float(np.mean(counts)))

    def mask(self, subject: Subject, category: str | None) -> np.ndarray:
        """The mean mask for a subject's views, (V, H, W) bool; of all where a category is not known."""
        name = category if category in self.places else None
        place = enlarged(torch.from_numpy(self.places[name]), *subject.cover.shape[1:])
        return subject.cover & (place >= self.thresholds[name])


def _place(cells: np.ndarray) -> np.ndarray:
    """Interior and cover of N views, (N, 2, S, S) -> the share of interior of what is covered, (S, S)."""
    interior, cover = cells.sum(0)
    return (interior / cover.clip(1e-6)).astype(np.float32)


def _best(place: np.ndarray, learned: Sequence[np.ndarray]) -> float:
    """The threshold of the highest mean IoU with K objects' cells, (V, 2, S, S) each."""
    having = [own for own in learned if own[:, 0].any()]
    if not having:
        return 1.0

    def soft(own: np.ndarray, threshold: float) -> float:
        interior, marked = own[:, 0], own[:, 1] * (place >= threshold)
        return np.minimum(interior, marked).sum() / np.maximum(interior, marked).sum()

    means = [np.mean([soft(own, threshold) for own in having]) for threshold in _THRESHOLDS]
    return float(_THRESHOLDS[int(np.argmax(means))])


def subjects(clouds: Path, split: str, count: int, first: int, views: int) -> Iterator[Subject]:
    """`count` objects of a split, evenly spread over its rows, with `views` views from `first` on."""
    which = range(first, first + views)
    names = [column(view) for view in which for column in (image_column, interior_column, layers_column)]
    places = list(_places(clouds, split))
    chosen = {places[i] for i in np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)}
    for file in sorted({file for file, _, _ in chosen}):
        with Shard(clouds / file) as shard:
            if missing := set(names) - set(shard.schema.names):
                raise ShardError(
                    f"{shard.path}: it has no column {min(missing)}. Masks came with schema 3: run "
                    "`insideout fuse` with --on-existing overwrite, or ask for fewer views."
                )
            for group in sorted({group for path, group, _ in chosen if path == file}):
                rows = shard.rows(["uid", "category", *names], [group])
                yield from (_subject(row, which) for i, row in enumerate(rows) if (file, group, i) in chosen)


def _places(clouds: Path, split: str) -> Iterator[tuple[str, int, int]]:
    """(file, row group, row) of every row of a split."""
    for part in read_manifest(clouds):
        with Shard(clouds / part.file) as shard:
            for group in range(shard.row_groups):
                splits = shard.table(group, ["split"])["split"].to_pylist()
                yield from ((part.file, group, i) for i, own in enumerate(splits) if own == split)


def _subject(row: Row, views: Sequence[int]) -> Subject:
    def stack(name: Any) -> np.ndarray:
        return np.stack([decode(row, name(view)) for view in views])

    cover = stack(image_column)[..., 3] >= 128
    images = [row[image_column(view)] for view in views]
    return Subject(row["uid"], row["category"], images, cover, stack(interior_column), stack(layers_column))


def _predicted(segmenter: Segmenter, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities and numbers of surfaces of an object's views, (V, H, W) float32 each."""
    found = segmenter.at_pixels(subject.images)
    return np.stack([one.interior for one in found]), np.stack([one.layers for one in found])


def draw_masks(shown: Sequence[tuple[Subject, np.ndarray]], columns: int = 4) -> Image.Image:
    """For each of K objects its first view, and in red the true and the predicted mask, (V, H, W) float32.

    Side by side, `columns` objects in a row.
    """
    rows = []
    for subject, interior in shown:
        rgba = decode({"image_": subject.images[0]}, "image_")
        panels = [on_gray(rgba), marked(rgba, subject.interior[0]), marked(rgba, interior[0])]
        rows.append(np.concatenate(panels, axis=1))
    rows += [np.full_like(rows[0], 255)] * (-len(rows) % columns)
    lines = [np.concatenate(rows[i : i + columns], axis=1) for i in range(0, len(rows), columns)]
    return Image.fromarray(np.concatenate(lines).clip(0, 255).astype(np.uint8))


def _signed(gain: Interval) -> str:
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
