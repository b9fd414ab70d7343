"""Networks of several views: they begin as networks of one, and know no order of views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training import checkpoints
from training.conditioning.cameras import camera_numbers, project
from training.conditioning.masks import cell_means
from training.config import TrainConfig
from training.networks.point_e import assemble, load_weights
from training.networks.transformer import Shape
from training.networks.views import Remembering, ViewShape, mean_and_longest, samples
from training.objectives.condition import Inputs

Vectors = Callable[[str], tuple[dict[str, Any], dict[str, Tensor]]]
CELLS, FEATURES, POINTS = 4, 8, 12
LOOKS = {"view_rays": True, "view_projected": True, "view_outline": True}
KINDS = {"grid": {}, "upsample": {"condition_points": 16}, "two_stream": {"latents": 8, "latent_layers": 1}}


def condition(views: int = 3, model: str = "grid", seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shown = {
        "embeddings": torch.randn(2, views, FEATURES, CELLS, generator=generator),
        "cameras": cameras(views).expand(2, views, -1),
        "known": torch.ones(2, views, dtype=torch.bool),
        "pixels": torch.rand(2, views, 4, 8, 8, generator=generator),
        "outlines": torch.rand(2, views, 3, 8, 8, generator=generator).half(),
    }
    return shown | ({"low_res": torch.rand(2, 6, 16, generator=generator)} if model == "upsample" else {})


def cameras(views: int) -> Tensor:
    """(1, V, 19)."""
    poses = [camera["camera_to_world"] for camera in make_row(0, views, 4)["cameras"]]
    return torch.from_numpy(np.stack([camera_numbers(pose, 0.7) for pose in poses]))[None]


def network(model: str = "grid", **options: Any) -> nn.Module:
    """A small network whose every weight is random, also those that begin as zero."""
    net = untrained(model, **KINDS[model] | options)
    generator = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        if weight.dim() > 1 or not weight.any():
            nn.init.normal_(weight, std=0.6, generator=generator)
    return net.eval().requires_grad_(False)


def untrained(model: str, **options: Any) -> Any:
    """The same as training begins with it."""
    settings = {"model": model, "width": 16, "layers": 2, "heads": 2, "views_most": 2}
    return checkpoints.build_model(TrainConfig.model_validate(settings | options), FEATURES)


def run(net: nn.Module, shown: dict[str, Tensor], points: int = POINTS) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return net(torch.randn(2, 6, points, generator=generator), torch.tensor([5.0, 700.0]), **shown)


def permuted(shown: dict[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    return {name: value if name == "low_res" else value[:, order] for name, value in shown.items()}


def test_one_view_of_a_published_network_with_new_parts_gives_the_published_numbers(
    vectors: Vectors, tmp_path: Path
) -> None:
    config, numbers = vectors("model_grid")
    weights = {name.removeprefix("weight/"): w for name, w in numbers.items() if name.startswith("weight/")}
    torch.save(weights, tmp_path / "base_40m.pt")
    shape = Shape(config["width"], config["layers"], config["heads"], views=ViewShape(True, 4, True))
    net = assemble("grid", shape, 160)
    new = load_weights(net, tmp_path / "base_40m.pt")
    assert new and all(name.startswith("views.") for name in new)
    embeddings = numbers["in/embeddings"][:, None]
    count, cells = len(embeddings), embeddings.shape[-1]
    assert cells == int(cells**0.5) ** 2
    shown = {
        "embeddings": embeddings,
        "cameras": cameras(1).expand(count, -1, -1),
        "known": torch.ones(count, 1, dtype=torch.bool),
        "pixels": torch.rand(count, 1, 4, 8, 8),
    }
    out = net(numbers["in/x"], numbers["in/t"], **shown)
    assert (out - numbers["out/y"]).abs().max() < 1e-5 * numbers["out/y"].abs().max()


@pytest.mark.parametrize("model", KINDS)
def test_the_order_of_views_does_not_matter(model: str) -> None:
    net, shown = network(model, **LOOKS), condition(3, model)
    straight = run(net, shown)
    torch.testing.assert_close(run(net, permuted(shown, [2, 0, 1])), straight, atol=1e-4, rtol=1e-4)
    exchanged = shown | {"cameras": shown["cameras"][:, [2, 0, 1]]}  # each picture with another's camera
    assert (run(net, exchanged) - straight).abs().max() > 1e-3
    for views in (1, 2, 6):
        assert run(net, condition(views, model)).shape == straight.shape


def test_learned_tags_know_an_order() -> None:
    net, shown = network(view_tags=True), {"embeddings": condition()["embeddings"]}
    assert (run(net, permuted(shown, [2, 0, 1])) - run(net, shown)).abs().max() > 1e-3


def test_rays_say_where_a_cell_is_and_features_alone_do_not() -> None:
    """Cells shuffled within a view: without rays, all that changes is where their features were."""
    shown = condition(1)
    shuffled = shown | {"embeddings": shown["embeddings"][..., [2, 0, 3, 1]]}
    blind, told = network(), network(view_rays=True)
    only = {"embeddings": shown["embeddings"]}, {"embeddings": shuffled["embeddings"]}
    torch.testing.assert_close(run(blind, only[0]), run(blind, only[1]), atol=1e-4, rtol=1e-4)
    without_pixels = [{k: v for k, v in one.items() if k != "pixels"} for one in (shown, shuffled)]
    assert (run(told, without_pixels[0]) - run(told, without_pixels[1])).abs().max() > 1e-3


@pytest.mark.parametrize("model", KINDS)
def test_a_view_without_a_camera_adds_only_its_tokens(model: str) -> None:
    net, shown = network(model, **LOOKS), condition(2, model)
    shown["known"][:, 1] = False
    straight = run(net, shown)
    other = {name: value.clone() for name, value in shown.items()}
    other["cameras"][:, 1], other["pixels"][:, 1] = other["cameras"][:, 0], 0.5
    other["outlines"][:, 1] = 0.5
    torch.testing.assert_close(run(net, other), straight)
    other["embeddings"][:, 1] = 0
    assert (run(net, other) - straight).abs().max() > 1e-3
    nothing = shown | {"known": torch.zeros(2, 2, dtype=torch.bool)}
    assert run(net, nothing).isfinite().all()


def test_points_see_the_pixels_that_they_fall_on() -> None:
    """Left half red, right half transparent; a camera 4 before the origin looks along -z."""
    pixels = torch.zeros(1, 1, 4, 8, 8)
    pixels[..., [0, 3], :, :4] = 1
    pose = np.eye(4)
    pose[2, 3] = 4
    camera = torch.from_numpy(camera_numbers(pose, 0.7))[None, None]
    points = torch.tensor([[-0.7, 0.2, 0.0], [0.7, 0.2, 0.5], [9, 0, 0], [-0.7, 0, 1]]).T[None]
    seen = samples(project(points, camera), camera, pixels)[0, 0]
    red = torch.tensor([1.0, 0, 0, 1])
    torch.testing.assert_close(seen[[0, 3], :4], torch.stack([red, red]))
    assert not seen[1:3, :4].any()
    assert seen[:, 4].tolist() == [1, 1, 0, 1]  # inside the picture
    torch.testing.assert_close(seen[:, 5], torch.tensor([0, -0.5, 0, -1]))  # depth, from the origin's on


def test_new_parts_leave_the_rest_of_the_network_as_it_was() -> None:
    """Arms of a comparison begin with the same weights."""
    plain = checkpoints.build_model(TrainConfig(width=16, layers=1), FEATURES).state_dict()
    config = TrainConfig.model_validate({"width": 16, "layers": 1, "view_tags": True} | LOOKS)
    richer = checkpoints.build_model(config, FEATURES).state_dict()
    assert {name for name in richer if not name.startswith("views.")} == set(plain)
    assert all(torch.equal(richer[name], value) for name, value in plain.items())


def test_a_network_without_views_has_the_published_names() -> None:
    shape = Shape(16, 1, 2)
    names = set(assemble("grid", shape, FEATURES).state_dict())
    assert names == set(assemble("grid", replace(shape, views=ViewShape()), FEATURES).state_dict())
    assert not any("views" in name for name in names)


SEQUENTIAL = [(model, "state") for model in KINDS] + [("grid", "causal"), ("upsample", "causal")]


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(("model", "fusion"), SEQUENTIAL)
def test_views_shown_one_by_one_are_the_views_shown_together(model: str, fusion: str, skips: bool) -> None:
    """What is remembered of them serves every time and cloud, and grows with each view."""
    net = network(model, **LOOKS, view_fusion=fusion, long_skips=skips)
    assert isinstance(net, Remembering)
    shown = condition(3, model)
    together = run(net, shown)
    torch.testing.assert_close(run(net, net.prepared(shown)), together)
    memory = None
    for view in range(3):
        one = {k: shown[k][:, view : view + 1] for k in ("embeddings", "cameras", "known")}
        memory = net.remembered(memory, Inputs(**one))
    assert memory is not None
    rest = {name: value for name, value in shown.items() if name != "embeddings"}
    torch.testing.assert_close(run(net, rest | {"memory": memory}), together)
    two = {name: value[:, :2] for name, value in shown.items()}
    earlier = net.remembered(None, Inputs(**two))
    if fusion == "causal":  # what is known of the first two does not depend on the third
        torch.testing.assert_close(memory[..., : earlier.shape[-2], :], earlier)
    else:
        assert memory.shape == earlier.shape
    fewer = rest | {"memory": earlier}
    fewer |= {k: shown[k][:, :2] for k in ("cameras", "known", "pixels", "outlines")}
    assert (run(net, fewer) - together).abs().max() > 1e-3


def test_remembered_views_weigh_the_same_for_any_number_of_points() -> None:
    """`seen` shifts the points' logits, not those of the views."""
    net = network(view_fusion="causal", points=48, step_points=16)
    shown = {"embeddings": condition()["embeddings"]}
    generator = torch.Generator().manual_seed(3)
    x, t = torch.randn(2, 6, 16, generator=generator), torch.tensor([5.0, 700.0])
    torch.testing.assert_close(
        net(x.repeat(1, 1, 3), t, **shown), net(x, t, **shown).repeat(1, 1, 3), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("model", KINDS)
def test_what_lies_behind_starts_silent(model: str) -> None:
    """The network begins as one without masks; once trained, it uses them at its tokens and its points."""
    options = KINDS[model] | {"view_rays": True, "view_projected": True}
    plain, seeing = (untrained(model, see_inside=see, **options) for see in ("none", "true"))
    own, more = plain.state_dict(), seeing.state_dict()
    assert set(more) - set(own) == {"views.inside.weight", "views.projected.behind.weight"}
    assert all(torch.equal(more[name], value) for name, value in own.items())
    shown, behind = condition(2, model), torch.rand(2, 2, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    nn.init.normal_(plain.output_proj.weight, generator=torch.Generator().manual_seed(3))
    nn.init.normal_(plain.views.projected.out.weight, generator=torch.Generator().manual_seed(4))
    seeing.load_state_dict(plain.state_dict(), strict=False)
    once = run(plain, shown)
    assert torch.equal(run(seeing, shown | {"inside": behind}), once)
    for part in (seeing.views.inside, seeing.views.projected.behind):
        nn.init.normal_(part.weight, std=0.5)
        assert (run(seeing, shown | {"inside": behind}) - once).abs().max() > 1e-4
        assert torch.equal(run(seeing, shown | {"inside": 0 * behind}), once)
        nn.init.zeros_(part.weight)


@pytest.mark.parametrize("model", ["grid", "upsample"])
@pytest.mark.parametrize("step_points", [6, POINTS])  # fewer than are generated, as many
def test_more_views_than_in_training_weigh_as_much_as_the_most_of_training(
    model: str, step_points: int
) -> None:
    """Showing each of two views twice says nothing new."""
    shown = condition(2, model)
    twice = permuted(shown, [0, 1, 1, 0])
    two, four = (network(model, **LOOKS, step_points=step_points, views_most=most) for most in (2, 4))
    straight = run(two, shown)
    torch.testing.assert_close(run(two, twice), straight, atol=1e-4, rtol=1e-4)
    assert (run(four, twice) - straight).abs().max() > 1e-3


@pytest.mark.parametrize("model", KINDS)
def test_ways_to_silhouettes_start_silent(model: str) -> None:
    """A network trained without them goes on as it was; once trained, both parts use them."""
    options = KINDS[model] | LOOKS
    plain, richer = (untrained(model, **options | {"view_outline": on}) for on in (False, True))
    own, more = plain.state_dict(), richer.state_dict()
    parts = {f"views.projected.outline.{part}.weight" for part in ("each", "out")}
    assert set(more) - set(own) == parts and all(
        torch.equal(more[name], value) for name, value in own.items()
    )
    trained, shown = network(model, **options | {"view_outline": False}), condition(2, model)
    assert set(richer.load_state_dict(trained.state_dict(), strict=False).missing_keys) == parts
    once = run(trained, {name: value for name, value in shown.items() if name != "outlines"})
    assert torch.equal(run(richer, shown), once)
    for part in (richer.views.projected.outline.each, richer.views.projected.outline.out):
        nn.init.normal_(part.weight, std=0.5)
        assert (run(richer, shown) - once).abs().max() > 1e-4
        nn.init.zeros_(part.weight)
    with pytest.raises(ValueError, match="give outlines"):
        run(richer, {name: value for name, value in shown.items() if name != "outlines"})


@pytest.mark.parametrize("model", KINDS)
def test_ways_to_insides_start_silent_and_need_masks(model: str) -> None:
    """A network trained without them goes on as it was, and so does any where no inside is known."""
    options = KINDS[model] | LOOKS
    plain, seeing = network(model, **options), untrained(model, see_inside="true", **options)
    parts = {f"views.projected.interior.{part}.weight" for part in ("each", "out")}
    missing = seeing.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert set(missing) == {*parts, "views.inside.weight", "views.projected.behind.weight"}
    shown = condition(2, model)
    once = run(plain, shown)
    behind = {"interiors": shown["outlines"].flip(1)}
    assert torch.equal(run(seeing, shown | behind), once)
    for part in (seeing.views.projected.interior.each, seeing.views.projected.interior.out):
        nn.init.normal_(part.weight, std=0.5)
        assert (run(seeing, shown | behind) - once).abs().max() > 1e-4
        assert torch.equal(run(seeing, shown | {"interiors": 0 * behind["interiors"]}), once)
        nn.init.zeros_(part.weight)


def test_the_mean_and_the_longest_way_are_those_of_known_views() -> None:
    ways = torch.tensor([[[1.0, 0, 0]], [[0, -3, 0]], [[9, 9, 9]]])[None]  # (1, 3, 1, 3)
    used = torch.tensor([True, True, False]).view(1, 3, 1, 1)
    assert mean_and_longest(ways, used)[0, 0].tolist() == [0.5, -1.5, 0, 0, -3, 0]
    assert not mean_and_longest(ways, torch.zeros_like(used)).any()


def test_a_remembered_view_keeps_what_lies_behind_it() -> None:
    behind = torch.rand(2, 3, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    for fusion in ("causal", "state"):
        net = network(view_rays=True, view_projected=True, view_fusion=fusion, see_inside="true")
        assert isinstance(net, Remembering)
        shown = condition(3) | {"inside": behind}
        torch.testing.assert_close(run(net, net.prepared(shown)), run(net, shown))
        assert (run(net, net.prepared(shown | {"inside": 0 * behind})) - run(net, shown)).abs().max() > 1e-3


def test_cells_are_the_means_of_their_part_of_the_masks() -> None:
    behind = torch.rand(2, 3, 2, 8, 8)
    blocks = behind.view(2, 3, 2, 4, 2, 4, 2).mean((4, 6)).flatten(3).transpose(2, 3)
    torch.testing.assert_close(cell_means(behind, 16), blocks)
    torch.testing.assert_close(cell_means(behind, 9).mean(2), behind.mean((3, 4)))
