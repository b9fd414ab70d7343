"""The cost of generating: `python -m training.benchmarks.sampling [--model base40M]`; random weights.

A guided cloud takes two calls of the network at each of its 2 x steps - 1 levels. Printed, for one thread:
CPU seconds of such a pair, with and without the image in two calls or in one batch, in float32 and in
bfloat16, in alternation; and what `--clouds` and `--steps` of them come to.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from torch import Tensor

from training.networks.point_e import PUBLISHED, assemble
from training.objectives.condition import Condition
from training.objectives.sampler import nothing_of

CELLS = 256
WAYS = {
    "two calls, float32": (False, False),
    "two calls, bfloat16": (False, True),
    "one batch, float32": (True, False),
    "one batch, bfloat16": (True, True),
}


def main(arguments: list[str] | None = None) -> None:
    """Print a line per way: CPU seconds of a pair of calls, the ratio to the first, and of all clouds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [name for name, known in PUBLISHED.items() if known.family == "grid"]
    parser.add_argument("--model", choices=names, default="base40M")
    parser.add_argument("--clouds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3, help="timed pairs; the best counts")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pairs = options.clouds * (2 * options.steps - 1)
    costs = measure(options.model, options.repeat)
    first = next(iter(costs.values()))
    for way, cost in costs.items():
        print(f"{way:20} {cost:6.2f} CPU-s  {cost / first:4.2f} x  {pairs * cost:8.0f} CPU-s in all")


def measure(name: str, repeat: int) -> dict[str, float]:
    """Way -> CPU seconds of the two predictions that a guided step of one cloud combines."""
    known = PUBLISHED[name]
    torch.manual_seed(0)
    model = assemble(known.family, known.shape, known.features).eval().requires_grad_(False)
    x, t = torch.randn(1, known.shape.channels, known.points), torch.full((1,), 500.0)
    shown: Condition = {"embeddings": torch.randn(1, known.features, CELLS)}
    nothing = nothing_of(shown)
    both: Condition = {"embeddings": torch.cat([shown["embeddings"], nothing["embeddings"]])}

    @torch.inference_mode()
    def pair(batched: bool, half: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            if batched:
                return model(x.expand(2, -1, -1), t.expand(2), **both)
            return torch.cat([model(x, t, **shown), model(x, t, **nothing)])

    best = dict.fromkeys(WAYS, math.inf)
    for turn in range(repeat + 1):
        for way, (batched, half) in WAYS.items():
            began = time.process_time()
            pair(batched, half)
            if turn:  # the first turn warms up
                best[way] = min(best[way], time.process_time() - began)
    return best


if __name__ == "__main__":
    main()
