"""One object's views through the commands: together or one by one, posed or not, by any rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.failures import UserError
from tests.helpers.cloud_rows import make_row  # pyright: ignore[reportMissingImports]
from training.conditioning.cameras import USUAL_FOV, camera_numbers
from training.conditioning.frames import frame_of
from training.conditioning.shown import View
from training.config import TrainConfig
from training.evaluate import evaluate
from training.generate import generate
from training.generator import Generator
from training.settings import EvaluateSettings, GenerateSettings, Sampling
from training.train import train

MakeDataset = Callable[..., Path]
SMALL = TrainConfig(
    steps=3, batch=4, points=64, step_points=32, image_size=64, width=32, layers=2, heads=2, threads=1,
    device="cpu", precision="float32", sample_every=0, tensorboard=False, views_most=3, view_rays=True,
    view_projected=True, view_outline=True,
)  # fmt: skip
TWO = Sampling(steps=2)


def trained(out: Path, **changes: Any) -> Generator:
    """A network of a few steps, its silent parts made loud."""
    config = TrainConfig.model_validate(SMALL.model_dump() | changes)
    generator = Generator(train(config, out, "run", report=lambda line: None), precision="float32")
    for index, weight in enumerate(generator.model.parameters()):
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(index))
    return generator


def views(posed: bool = True) -> list[View]:
    row = make_row(1, 3, 16)
    poses = [camera_numbers(camera["camera_to_world"], camera["fov"]) for camera in row["cameras"]]
    return [View(row[f"image_{view:02d}"], poses[view] if posed else None) for view in range(3)]


def matrix(camera: dict[str, Any]) -> list[list[float]]:
    return np.reshape(camera["camera_to_world"], (4, 4)).tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"view_fusion": "causal", "frame": "first_view", "crop": True},
        {"view_fusion": "state", "model": "two_stream", "latents": 8, "latent_layers": 1},
        {"view_fusion": "causal", "model": "upsample", "condition_points": 16, "frame": "first_view"},
    ],
    ids=str,
)
def test_views_shown_one_by_one_give_the_cloud_of_views_shown_together(
    make_dataset: MakeDataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """And a session that is saved and goes on later gives the same, bit for bit."""
    generator = trained(make_dataset(rows=4), **changes)
    low = np.random.default_rng(0).uniform(-1, 1, (1, 6, 16)).astype(np.float32)
    low = low if generator.config.model == "upsample" else None
    for posed in (True, False):
        session, clouds = generator.begin(None if low is None else low[0]), []
        for view in views(posed):
            clouds.append(session.show(view.image, view.camera).draw(32, TWO))
        together = generator.sample([views(posed)], 32, TWO, low)[0]
        np.testing.assert_allclose(clouds[-1], together, atol=2e-4)
        assert np.abs(clouds[0] - together).max() > 1e-3
        later, file = generator.begin(None if low is None else low[0]), tmp_path / "object.state"
        for view, cloud in zip(views(posed), clouds, strict=True):
            later.show(view.image, view.camera).save(file)
            later = generator.begin(state=file)
            np.testing.assert_array_equal(later.draw(32, TWO), cloud)


def test_a_posed_cloud_is_turned_back_and_an_unposed_one_has_its_cameras(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """The network makes the same cloud from both; what differs is the frame in which it is given."""
    generator = trained(make_dataset(rows=4), frame="first_view", views_most=1)
    pose = make_row(1, 3, 16)["cameras"][1]["camera_to_world"]
    given = camera_numbers(pose, USUAL_FOV)
    posed = View(views()[1].image, given)
    turned = generator.sample([[posed]], 32, TWO)
    stands = generator.sample([[View(posed.image)]], 32, TWO)
    frame = frame_of(torch.from_numpy(given)[None])
    np.testing.assert_allclose(frame.enter(torch.from_numpy(turned)).numpy(), stands, atol=0.02)
    assert np.abs(turned - stands).max() > 0.1
    np.testing.assert_allclose(generator.cameras_of([posed])[0], given, atol=1e-5)
    (camera,) = generator.cameras_of([View(posed.image)])
    np.testing.assert_allclose(camera, frame.cameras(torch.from_numpy(given)[None, None])[0, 0], atol=1e-5)
    row = make_row(1, 3, 16)
    (tmp_path / "a.png").write_bytes(row["image_00"])
    run = generator.path.parent
    generate(GenerateSettings(run, tmp_path / "a.ply", (tmp_path / "a.png",), steps=2), lambda line: None)
    (frame,) = json.loads((tmp_path / "a.transforms.json").read_text())["frames"]
    np.testing.assert_allclose(np.ravel(frame["transform_matrix"]), camera[:16], atol=1e-6)


def test_generate_goes_on_from_a_state(make_dataset: MakeDataset, tmp_path: Path) -> None:
    out = make_dataset(rows=4)
    run = trained(out, view_fusion="causal", frame="first_view", prediction="flow").path.parent
    images = [tmp_path / f"{name}.png" for name in "abc"]
    for image, view in zip(images, views(), strict=True):
        image.write_bytes(view.image)
    state, session, quiet, made = tmp_path / "chair.state", Generator(run).begin(), lambda line: None, []
    for shown in (images[:1], images[1:], []):
        to = tmp_path / f"{len(shown)}.npz"
        settings = GenerateSettings(run, to, tuple(shown), state=state, points=32, steps=2)
        files = generate(settings, quiet)
        assert (tmp_path / "1.transforms.json" in files) == (shown == images[:1])
        for image in shown:
            session.show(image.read_bytes())
        expected = session.draw(32, Sampling(steps=2))
        np.testing.assert_array_equal(2 * np.load(to)["coords"], expected[:3].T)  # Point-E's frame is halved
        made.append(expected)
    assert np.array_equal(made[1], made[2]) and not np.array_equal(made[0], made[1])
    with pytest.raises(UserError, match=r"chair\.state: a state makes one cloud"):
        replace(settings, count=2)
    config = SMALL.model_copy(update={"view_fusion": "causal", "seed": 1})
    other = Generator(train(config, out, "other", report=quiet))
    with pytest.raises(UserError, match=r"chair\.state: the state of another model"):
        other.begin(state=state)


@pytest.mark.parametrize("wrong", ["damaged", "version", "shape", "views", "nan", "missing"])
def test_a_wrong_state_is_refused(make_dataset: MakeDataset, tmp_path: Path, wrong: str) -> None:
    generator, state = trained(make_dataset(rows=4)), tmp_path / "chair.state"
    generator.begin().show(views()[0].image).save(state)
    record = torch.load(state, weights_only=True)
    tensors = record["tensors"]
    match wrong:
        case "version":
            record["version"] = 99
        case "shape":
            tensors["seen pixels"] = tensors["seen pixels"][..., :8]
        case "views":
            record["views"] = 2
        case "nan":
            tensors["seen cameras"][0, 0, 3] = np.nan
        case "missing":
            del tensors["seen known"]
    torch.save(record, state)
    if wrong == "damaged":
        state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"chair\.state: .*\."):
        generator.begin(state=state)


def test_several_images_of_one_object_by_every_rule(make_dataset: MakeDataset, tmp_path: Path) -> None:
    generator = trained(make_dataset(rows=4))
    row, run = make_row(1, 3, 16), generator.path.parent
    images = tuple(tmp_path / f"rgba/{view:03d}.png" for view in range(3))
    images[0].parent.mkdir()
    for view, path in enumerate(images):
        path.write_bytes(row[f"image_{view:02d}"])
    frames = [
        {
            "file_path": f"rgba/{view:03d}.png",
            "transform_matrix": pose["camera_to_world"].reshape(4, 4).tolist(),
        }
        for view, pose in enumerate(row["cameras"])
    ]
    cameras = tmp_path / "transforms.json"
    cameras.write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames}))
    made = {}
    for rule in (None, "mean", "cycle"):
        to = tmp_path / f"{rule}.npz"
        settings = GenerateSettings(run, to, images, cameras, rule, points=32, steps=2, precision="float32")
        assert [path.name for path in generate(settings, lambda line: None)] == [to.name, f"{rule}.png"]
        made[rule] = np.load(to)["coords"]
    assert all(np.isfinite(cloud).all() for cloud in made.values())
    each = GenerateSettings(run, tmp_path / "each", images, view_rule="each", points=32, steps=2)
    assert sum(path.suffix == ".ply" for path in generate(each, lambda line: None)) == 3
    frames.pop()
    cameras.write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames}))
    with pytest.raises(UserError, match=r"transforms\.json: 0 frames have the picture .*002\.png"):
        generate(settings, lambda line: None)
    cameras.write_text("{}")
    with pytest.raises(UserError, match=r"transforms\.json: not a file of cameras"):
        generate(settings, lambda line: None)


def test_rules_without_training_serve_a_model_of_one_view(make_dataset: MakeDataset) -> None:
    """The mean of the same view twice is that view; in turn, too."""
    generator = trained(
        make_dataset(rows=4), views_most=1, view_rays=False, view_projected=False, view_outline=False
    )
    one, other = views()[0], View(make_row(2, 1, 16)["image_00"])
    alone = generator.sample([[one]], 32, TWO)
    for rule in ("mean", "cycle"):
        twice = generator.sample([[one, one]], 32, Sampling(steps=2, rule=rule))
        np.testing.assert_allclose(twice, alone, atol=1e-5)
        both = generator.sample([[other, one]], 32, Sampling(steps=2, rule=rule))
        assert np.abs(both - alone).max() > 1e-3
    settings = EvaluateSettings(generator.path.parents[2], generator.path, count=2, points=16, steps=2)
    assert evaluate(settings).objects == 2
