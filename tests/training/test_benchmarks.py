"""The benchmark compares like with like, and counts all the work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.benchmarks import sampling
from training.benchmarks import step as bench
from training.benchmarks.step import measure, operations, with_published_attention
from training.networks.point_e import assemble, build
from training.networks.transformer import Shape


def test_the_published_attention_is_the_same_network() -> None:
    torch.manual_seed(0)
    ours = build("grid", 20, width=64, layers=2, heads=4)
    torch.nn.init.normal_(ours.output_proj.weight)
    theirs = with_published_attention(ours)
    x, t, grid = torch.randn(2, 6, 40), torch.tensor([3.0, 700.0]), torch.randn(2, 20, 9)
    for model in (ours, theirs):
        model(x, t, embeddings=grid).square().mean().backward()
    mine = ours(x, t, embeddings=grid)
    torch.testing.assert_close(theirs(x, t, embeddings=grid), mine, atol=1e-4, rtol=1e-4)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["grid", "upsample"])
def test_operations_are_those_that_torch_counts(family: str) -> None:
    model = with_published_attention(build(family, 20, width=64, layers=3, heads=4))  # einsum is counted
    coarse = {"low_res": torch.randn(1, 6, 16)} if family == "upsample" else {}
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.randn(1, 6, 40), torch.zeros(1), embeddings=torch.randn(1, 20, 9), **coarse)
    extra = 16 if coarse else 0
    assert counter.get_total_flops() == operations(model.shape, 40, 1 + 9 + extra, 20, 9, extra)


def shrink(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A published name stands for a tiny network."""
    small = replace(bench.PUBLISHED[name], points=16, features=8, shape=Shape(32, 1, 2))
    monkeypatch.setitem(bench.PUBLISHED, name, small)


@pytest.mark.parametrize("name", ["base40M", "upsample"])
def test_a_step_changes_the_weights_and_both_take_turns(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shrink(monkeypatch, name)
    known = bench.PUBLISHED[name]
    model = assemble(known.family, known.shape, known.features)
    before = model.output_proj.weight.clone()
    order: list[str] = []
    step = bench.make_step(model, name, 2, False)

    def counted(way: str) -> None:
        order.append(way)
        step()

    timings = measure({"a": lambda: counted("a"), "b": lambda: counted("b")}, 2, torch.device("cpu"))
    assert order == ["a", "b"] * 3
    assert all(0 < timing.seconds < float("inf") and timing.processor > 0 for timing in timings)
    assert not torch.equal(before, model.output_proj.weight)


def test_the_command_prints_a_line_for_each_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shrink(monkeypatch, "base40M")
    bench.main(["--batch", "1", "--repeat", "1", "--half"])
    lines = capsys.readouterr().out.splitlines()
    assert "base40M: 16 points + 257 tokens" in lines[1]
    assert [line.split("  ")[1] for line in lines[2:]] == [
        "published attention",
        "ours",
        "published attention, bfloat16",
        "ours, bfloat16",
    ]


def test_the_ways_of_sampling_are_measured_on_the_same_predictions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shrink(monkeypatch, "base40M")
    sampling.main(["--repeat", "1", "--clouds", "2", "--steps", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == list(sampling.WAYS)
    assert "1.00 x" in lines[0]
