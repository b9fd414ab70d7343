"""The cost of four views: `python -m training.benchmarks.views [--threads 1]`.

For each size, one sample of guided sampling in 16 steps: `causal` computing the views at every step, `causal`
keeping them, and `tokens`, one sequence. Then a network call and a training step of base40M.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from training.networks.point_e import assemble
from training.networks.transformer import PointTransformer, Shape
from training.networks.views import Fusion, ViewShape
from training.objectives.condition import Condition
from training.objectives.flow import RectifiedFlow
from training.objectives.sampler import sample

VIEWS = 4
TINY, BASE = Shape(128, 6, 2, outputs=1), Shape(512, 12, 8, outputs=1)


def main() -> None:
    """Print a line per measurement, in CPU seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    torch.set_num_threads(parser.parse_args().threads)
    for name, shape, points, cells, steps in (
        ("tiny, 128 points, 16 cells", TINY, 128, 16, 16),
        ("tiny, 128 points, 49 cells", TINY, 128, 49, 16),
    ):
        print(f"sampling, {name}, {steps} steps: {sampling(shape, points, cells, steps)}", flush=True)
    print(f"a call of base40M, 1,024 points, 256 cells: {call()}", flush=True)
    for views in (1, VIEWS):
        print(f"training step, base40M, {views} views: {training(views):.2f} CPU-s", flush=True)


def sampling(shape: Shape, points: int, cells: int, steps: int) -> str:
    """CPU seconds of a cloud, by the way in which its views are used."""
    shown, noise = {"embeddings": torch.randn(1, VIEWS, 1024, cells)}, torch.randn(1, 6, points)
    causal, tokens = network(shape, "causal"), network(shape, "tokens")

    def run(model: PointTransformer, prepare: Callable[[Condition], Condition] | None) -> float:
        return cpu(lambda: sample(RectifiedFlow(), model, noise, shown, steps, prepare=prepare))

    ways = {"computed": (causal, None), "kept": (causal, causal.prepared), "tokens": (tokens, None)}
    return ", ".join(f"{way} {min(run(*plan) for _ in range(2)):.2f}" for way, plan in ways.items())


@torch.inference_mode()
def call() -> str:
    """CPU seconds of one network call of base40M, by the way in which its views are used."""
    shown, x, t = {"embeddings": torch.randn(1, VIEWS, 1024, 256)}, torch.randn(1, 6, 1024), torch.ones(1)
    causal, tokens = network(BASE, "causal"), network(BASE, "tokens")
    ways = {"computed": (causal, shown), "kept": (causal, causal.prepared(shown)), "tokens": (tokens, shown)}
    costs = {way: cpu(partial(model, x, t, **given)) for way, (model, given) in ways.items()}
    return ", ".join(f"{way} {cost:.2f}" for way, cost in costs.items())


def training(views: int) -> float:
    """CPU seconds of a step's forward and backward pass for one cloud of 1,024 points."""
    model = network(BASE, "tokens").train().requires_grad_(True)
    shown, start = {"embeddings": torch.randn(1, views, 1024, 256)}, torch.rand(1, 6, 1024) * 2 - 1
    time_, noise = torch.tensor([0.5]), torch.randn_like(start)
    return cpu(lambda: RectifiedFlow().losses(model, start, time_, noise, **shown)["loss"].mean().backward())


def network(shape: Shape, fusion: Fusion) -> PointTransformer:
    """An untrained network for sampling."""
    torch.manual_seed(0)
    model = assemble("grid", replace(shape, views=ViewShape(fusion=fusion)), 1024)
    return model.eval().requires_grad_(False)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
