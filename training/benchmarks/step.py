"""The cost of a training step: ours and a direct port of the published attention, in one run.

    python -m training.benchmarks.step                      # base40M, one cloud per step on a CPU
    python -m training.benchmarks.step --models base40M base300M upsample --batch 64 --compile    # on a GPU

A step is a forward pass at the model's own number of points with 256 grid tokens (and 1,024 coarse points for
the upsampler), the hybrid loss, the backward pass, clipping and AdamW. The published attention is an einsum
with its softmax in float32, always recomputed in the backward pass; the rest of the network and its weights
are the same. The two alternate, and the best of `--repeat` counts. Utilization is the model's own work (three
forward passes, without recomputation) over the device's dense bfloat16 peak. On a shared CPU, compare CPU
seconds, with `--threads 1`.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.networks.blocks import Attention
from training.networks.point_e import PUBLISHED, assemble
from training.networks.transformer import PointTransformer, Shape
from training.objectives.diffusion import Diffusion

CELLS = 256
COARSE = 1024
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""Dense bfloat16 operations per second of the SXM versions, by a part of the device's name."""


class PublishedAttention(Attention):
    """Point-E's attention as in its code: einsum, softmax in float32, recomputation."""

    def forward(self, x: Tensor, shift: Tensor | None = None, past: Tensor | None = None) -> Tensor:
        """x: (B, T, width) -> (B, T, width); a step has no shift and no past."""
        assert shift is None and past is None
        mixed = checkpoint(self._attend, self.c_qkv(x), use_reentrant=False)
        assert isinstance(mixed, Tensor)
        return self.c_proj(mixed)

    def _attend(self, qkv: Tensor) -> Tensor:
        batch, tokens, width = qkv.shape
        each = width // self.heads // 3
        scale = 1 / math.sqrt(math.sqrt(each))
        q, k, v = qkv.view(batch, tokens, self.heads, -1).split(each, dim=-1)
        weight = torch.einsum("bthc,bshc->bhts", q * scale, k * scale)
        weight = torch.softmax(weight.float(), dim=-1).type(weight.dtype)
        return torch.einsum("bhts,bshc->bthc", weight, v).reshape(batch, tokens, -1)


@dataclass(frozen=True)
class Timing:
    """The cost of a step of one variant."""

    name: str
    seconds: float
    processor: float
    """CPU seconds over all cores: what to compare on a shared machine."""
    memory: float
    """Peak bytes on the GPU; 0 on a CPU."""


def with_published_attention(model: PointTransformer) -> PointTransformer:
    """A copy of the model with the published attention."""
    plain = copy.deepcopy(model)
    for block in plain.backbone.resblocks:
        published = PublishedAttention(model.shape.width, model.shape.heads).to(
            next(model.parameters()).device
        )
        published.load_state_dict(block.get_submodule("attn").state_dict())
        block.attn = published
    return plain


def operations(shape: Shape, points: int, context: int, features: int, cells: int, coarse: int) -> float:
    """Operations of a forward pass on one cloud, two per multiply-add of a matrix product.

    `context` is the number of tokens that are not points. Norms, softmax and activations are not counted.
    """
    tokens, width = points + context, shape.width
    block = tokens * 24 * width**2 + 4 * tokens**2 * width
    ends = 2 * points * width * shape.channels * (1 + shape.outputs)
    condition = 2 * width * (features * cells + shape.channels * coarse) + 16 * width**2
    return shape.layers * block + ends + condition


def make_step(model: PointTransformer, name: str, batch: int, half: bool) -> Callable[[], None]:
    """A function that takes one optimizer step on random clouds of the model's kind."""
    known, device = PUBLISHED[name], next(model.parameters()).device
    diffusion = Diffusion(schedule=known.schedule)
    condition = {"embeddings": torch.randn(batch, known.features, CELLS, device=device)}
    if known.family == "upsample":
        condition["low_res"] = torch.rand(batch, 6, COARSE, device=device) * 2 - 1
    start = torch.rand(batch, 6, known.points, device=device) * 2 - 1
    t = diffusion.times((torch.arange(batch) + 0.5) / batch).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = diffusion.losses(model, start, t, torch.randn_like(start), **condition)["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def measure(steps: dict[str, Callable[[], None]], repeat: int, device: torch.device) -> list[Timing]:
    """The best time of each variant after a warm-up step; they alternate to share the machine's state."""
    seconds, processor = ({name: math.inf for name in steps} for _ in range(2))
    memory = dict.fromkeys(steps, 0.0)
    for turn in range(repeat + 1):
        for name, step in steps.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            began, used = time.perf_counter(), time.process_time()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
                memory[name] = float(torch.cuda.max_memory_allocated())
            if turn:
                seconds[name] = min(seconds[name], time.perf_counter() - began)
                processor[name] = min(processor[name], time.process_time() - used)
    return [Timing(name, seconds[name], processor[name], memory[name]) for name in steps]


def compare(name: str, batch: int, repeat: int, device: torch.device, options: argparse.Namespace) -> str:
    """The report on one model."""
    known = PUBLISHED[name]
    torch.manual_seed(0)
    shape = replace(known.shape, recompute=options.recompute)
    model = assemble(known.family, shape, known.features).to(device)
    ways = {} if options.ours_only else {"published attention": (with_published_attention(model), False)}
    ways["ours"] = (model, False)
    if options.half:
        if not options.ours_only:
            ways["published attention, bfloat16"] = (with_published_attention(model), True)
        ways["ours, bfloat16"] = (copy.deepcopy(model), True)
    if device.type == "cuda":  # nobody trains in float32 there
        ways = {way: value for way, value in ways.items() if value[1]}
    if options.compile:
        for way, (network, _) in ways.items():
            if way.startswith("ours"):
                network.backbone.compile()
    steps = {way: make_step(network, name, batch, half) for way, (network, half) in ways.items()}
    return report(name, batch, measure(steps, repeat, device), device)


def report(name: str, batch: int, timings: list[Timing], device: torch.device) -> str:
    """A line per variant: seconds, rate, speed relative to the first, utilization, memory."""
    known = PUBLISHED[name]
    coarse = COARSE if known.family == "upsample" else 0
    context = 1 + CELLS + coarse
    work = 3 * batch * operations(known.shape, known.points, context, known.features, CELLS, coarse)
    peak = _peak(device)
    lines = [
        f"{name}: {known.points} points + {context} tokens, batch {batch}, {work / 1e12:.2f} Tflop per step"
    ]
    for timing in timings:
        line = f"  {timing.name:30} {timing.seconds:8.3f} s  {batch / timing.seconds:8.2f} clouds/s"
        line += f"  {timings[0].seconds / timing.seconds:5.2f} x  {work / timing.seconds / 1e12:7.2f} Tflop/s"
        if device.type == "cpu":
            share = timings[0].processor / timing.processor
            line += f"  {timing.processor:8.3f} CPU-s  {share:5.2f} x"
        else:
            line += f"  {timing.memory / 2**30:5.1f} GiB"
        if peak:
            line += f"  {work / timing.seconds / peak:5.1%} of peak"
        lines.append(line)
    return "\n".join(lines)


def _peak(device: torch.device) -> float:
    if device.type != "cuda":
        return 0.0
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), 0.0)


def main(arguments: list[str] | None = None) -> None:
    """`python -m training.benchmarks.step --help` names the flags."""
    names = [name for name, known in PUBLISHED.items() if known.family in ("grid", "upsample")]
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.step", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", nargs="+", choices=names, default=["base40M"])
    parser.add_argument("--batch", type=int, default=0, help="clouds per step; 0: 1 on a CPU, 32 on a GPU")
    parser.add_argument("--repeat", type=int, default=3, help="timed steps")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's default")
    parser.add_argument("--half", action="store_true", help="bfloat16 too; always on a GPU")
    parser.add_argument("--compile", action="store_true", help="compile our transformer's blocks")
    parser.add_argument("--recompute", action="store_true", help="recompute the activations of our blocks")
    parser.add_argument("--ours-only", action="store_true", help="without the published attention")
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.half = options.half or device.type == "cuda"
    if options.threads:
        torch.set_num_threads(options.threads)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__} on {where}, best of {options.repeat}")
    for name in options.models:
        batch = options.batch or (32 if device.type == "cuda" else 1)
        print(compare(name, batch, options.repeat, device, options), flush=True)


if __name__ == "__main__":
    main()
