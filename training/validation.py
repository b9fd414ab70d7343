"""How a run is judged while it trains: losses, scores of generated clouds, and pictures of them.

Clouds, views, times and noise are always the same, and the weights are the mean ones, so that two lines of
validation.jsonl differ only by what was learned between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from render.failures import UserError
from training.config import TrainConfig
from training.data.drawn import DrawnUse
from training.data.groups import EmptySplit
from training.data.loader import Batch, CloudLoader
from training.journal import Journal
from training.learner import Learner
from training.objectives.sampler import sample
from training.output.pictures import draw_sheet
from training.scores.distances import chamfer
from training.segmentation.head import ViewHead


class Validation:
    """The clouds that a run is judged by; with several processes, each evaluates a part."""

    def __init__(self, config: TrainConfig, learner: Learner, journal: Journal, clouds: Path):
        self._config, self._learner, self._journal = config, learner, journal
        self._held: Batch | None = None
        self._scored: Batch | None = None
        self._shown: Batch | None = None
        if config.val_every:
            self._held = _read(config, clouds, config.val_split, config.val_clouds)
        if config.score_every and config.samples:
            self._scored = _read(config, clouds, config.val_split, config.score_count, step_points=0)
        if config.sample_every and config.samples and journal.world.first:
            self._shown = _to_draw(config, clouds)

    def start(self, report: Callable[[str], None]) -> None:
        """Report a missing validation split, if validation was asked for."""
        if self._config.asks_for_validation and not (self._held or self._scored):
            report(f"no rows of split {self._config.val_split!r}: nothing to validate on")

    def look(self, step: int) -> None:
        """Validate, score and write pictures, when due."""
        config, last = self._config, step == self._config.steps
        if self._held and (last or step % config.val_every == 0):
            self._validate(self._held)
        if self._scored and (last or step % config.score_every == 0):
            self._score(self._scored)
        if self._shown and (last or step % config.sample_every == 0):
            self._draw(self._shown, step)

    def _mine(self, count: int) -> slice:
        """This process's part of `count` clouds."""
        world = self._journal.world
        return slice(world.rank * count // world.size, (world.rank + 1) * count // world.size)

    def _validate(self, held: Batch) -> None:
        world, count = self._journal.world, len(held.points)
        mine = self._mine(count)
        tally = self._learner.judge(held.part(mine), mine.start, count)
        means = self._journal.record("validation", world.sum(tally))
        if world.first:
            self._journal.report(f"validation  loss {means['loss']:.4f}  of {count} clouds")

    def _score(self, scored: Batch) -> None:
        """The mean Chamfer distance between generated and true clouds."""
        world, count = self._journal.world, len(scored.points)
        mine = self._mine(count)
        generated = self._generate(scored, mine)[:, :3].transpose(1, 2).numpy()
        true = scored.points[mine, :3].transpose(1, 2).numpy()
        own = [chamfer(a, b) for a, b in zip(generated, true, strict=True)]
        mean = float(world.sum(torch.tensor(own, dtype=torch.float64).sum())) / count
        self._journal.score(mean)
        if world.first:
            self._journal.report(f"score  Chamfer distance {mean:.4f}  of {count} clouds")

    @torch.no_grad()
    def _generate(self, batch: Batch, mine: slice) -> Tensor:
        """Clouds (B, C, N) of the mean weights for some of a batch's objects, always from the same noise."""
        config, learner = self._config, self._learner
        assert not isinstance(learner.ema, ViewHead), "it samples no clouds"
        points = config.points if config.model == "upsample" else config.sample_points
        shape = (len(batch.points), config.mix.channels, points)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(config.seed))
        clouds = [torch.zeros(0, *shape[1:])]
        for at in range(mine.start, mine.stop, config.batch):
            some = slice(at, min(at + config.batch, mine.stop))
            condition, frame = learner.condition(batch.part(some))
            start = noise[some].to(learner.device)
            with learner.autocast():
                cloud = sample(
                    learner.objective,
                    learner.ema,
                    start,
                    condition,
                    config.sample_steps,
                    1.0,
                    prepare=learner.ema.prepared,
                ).float()
            clouds.append((frame.leave(cloud) if frame else cloud).cpu())
        return torch.cat(clouds)

    def _draw(self, shown: Batch, step: int) -> None:
        """Write a sheet with image, generated and true cloud of some samples."""
        generated = self._generate(shown, slice(0, len(shown.points)))
        images = [views[0] for views in shown.images]
        sheet = draw_sheet(images, _whole(shown, generated), _whole(shown, shown.points))
        folder = self._journal.folder / "samples"
        folder.mkdir(exist_ok=True)
        sheet.save(folder / f"step-{step:07d}.png")
        self._journal.picture("samples", np.asarray(sheet))


def _to_draw(config: TrainConfig, clouds: Path) -> Batch:
    """Samples for pictures: training samples, then up to half from the validation split."""
    count = config.sample_count
    held = _read(config, clouds, config.val_split, count // 2, step_points=0) if count > 1 else None
    rest = count - (len(held.points) if held else 0)
    learned = _read(config, clouds, config.split, rest, step_points=0)
    return Batch.join([batch for batch in (learned, held) if batch])


def _whole(batch: Batch, points: Tensor) -> np.ndarray:
    """(B, C, N) points, after the coarse cloud that they refine."""
    return (points if batch.low_res is None else torch.cat([batch.low_res, points], dim=2)).numpy()


def _read(config: TrainConfig, clouds: Path, split: str, count: int, **changes: object) -> Batch | None:
    """The first samples of a split, with their first views; None if the split is empty."""
    most = config.views_most
    settings = {"batch": 1, "split": split, "weighted": False, "streams": 1, "workers": 0}
    settings |= {"views": most, "least": most, "most": most}
    try:
        loader = open_loader(config, clouds, **settings | changes)
    except EmptySplit:
        return None
    return Batch.join(list(itertools.islice(loader, min(loader.rows, count))))


def open_loader(config: TrainConfig, clouds: Path, **changes: object) -> CloudLoader:
    """The loader that the configuration describes."""
    settings = {
        "batch": config.batch,
        "points": config.points,
        "low_points": config.condition_points,
        "step_points": 0 if config.compares_whole else config.step_points,
        "mix": config.mix,
        "target": config.target,
        "split": config.split,
        "views": config.views,
        "least": config.views_least,
        "most": config.views_most,
        "cameras": config.uses_cameras,
        "images": config.encodes and config.encoder != "clip_text",
        "captions": config.encoder == "clip_text",
        "masks": config.reads_masks,
        "drawn": _drawn(config),
        "seed": config.seed,
        "window": config.window,
        "streams": config.streams,
        "workers": config.workers,
    } | changes
    settings["fold"] = config.part if settings["split"] == config.split else None
    return CloudLoader(clouds, **settings)  # pyright: ignore[reportArgumentType]


def _drawn(config: TrainConfig) -> DrawnUse | None:
    """What the configuration's steps see of drawn clouds."""
    if config.draws is None and config.model == "merge":
        raise UserError("model merge needs --draws, a folder that `insideout draw` wrote.")
    if config.draws is None:
        return None
    if config.model == "merge":
        return DrawnUse(config.draws, config.merge_clouds, config.merge_points)
    return DrawnUse(config.draws)
