"""Does the shift of attention logits help a model that samples more points than its steps saw?

    python examples/attention_shift.py out/furniture/data out/several_views --steps 1000

takes models that examples/several_views.py has trained with the same settings, at 64 points per step, and
samples more of them with the shift (`training.networks.transformer.Shape.seen`) and without it.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch
import tyro
from several_views import ARMS, SAMPLES, Experiment, Options

from training.generator import Generator
from training.scores.bootstrap import relative_difference
from training.scores.distances import chamfer

MODELS = (("today", 1), ("projected", 4))
"""Arms, and their numbers of views."""


def distances(
    experiment: Experiment, generator: Generator, views: int, points: int
) -> tuple[np.ndarray, float]:
    """Chamfer distances (K,) to as many true points, and how far colors are off, levels of 255."""
    samples = experiment.held_out
    given = [sample.views[:views] for sample in samples]
    clouds = experiment.sample(generator, given, "together", points)
    pairs = [
        (cloud, sample.cloud[:, :points])
        for some in clouds
        for cloud, sample in zip(some, samples, strict=True)
    ]
    found = np.array([chamfer(made[:3].T, true[:3].T) for made, true in pairs])
    colors = [np.abs(made[3:].mean(1) - true[3:].mean(1)).mean() * 127.5 for made, true in pairs]
    return found.reshape(SAMPLES, -1).mean(0), float(np.mean(colors))


def main(options: Options) -> None:
    """Print a line per model and number of points."""
    torch.set_num_threads(1)
    experiment = Experiment(options)
    print("| model | views | points | shifted | not shifted | difference | mean color off by |")
    print("|---|---|---|---|---|---|---|")
    for name, views in MODELS:
        generator = Generator(experiment.train(name, ARMS[name])[0], "cpu")
        shape = generator.model.shape
        for points in (shape.seen, 256, 1024):
            generator.model.shape = shape
            with_shift, color = distances(experiment, generator, views, points)
            generator.model.shape = replace(shape, seen=0)
            without, other = distances(experiment, generator, views, points)
            change = relative_difference(with_shift, without)
            mark = f"{change.mean:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
            cells = f"{with_shift.mean():.4f} | {without.mean():.4f} | {mark} | {color:.0f}, {other:.0f}"
            print(f"| {name} | {views} | {points} | {cells} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(tyro.cli(Options))
