"""YAML to configuration: what is wrong is named by file and key; the recipes that we ship load."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuse.config import FuseConfig
from pipeline.config import config_hash
from pipeline.run_config import load
from render.config import RenderConfig
from render.failures import UserError
from tests.helpers.places import ROOT

CONFIGS = ROOT / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def test_sections_fill_the_stages_and_the_rest_keeps_its_defaults(tmp_path: Path):
    run = load(write(tmp_path, "render: {views: 7}\nengine:\n  on_existing: overwrite\n"))
    assert run.render == RenderConfig(views=7)
    assert run.fuse == FuseConfig()
    assert run.engine.on_existing == "overwrite"
    assert load(write(tmp_path, "")).render == RenderConfig()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("render: {views: 0}", "render.views: should be greater than or equal to 1, not 0"),
        ("render: {wievs: 3}", "render.wievs: no such key; known here: views, resolution"),
        ("rendr: {views: 3}", "rendr: no such key; known here: render, fuse, train, engine"),
        ("engine: {on_existing: never}", "engine.on_existing: should be 'skip'"),
        ("render: [1]", "render: should have keys with values, not .1."),
        ("- 1", "expected sections render, fuse, train, engine"),
        ("render: {views: 3", "not YAML"),
        ("render: {views: !!bool x}", "not YAML"),
        ("render: {views: !!timestamp x}", "not YAML"),
        ("render: {views: 0}\nfuse: {points: x}", "render.views.*; fuse.points"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, expected: str):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=expected) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_value_without_end_is_shown_in_short(tmp_path: Path):
    levels = [", ".join(f"&a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 7))]
    path = write(tmp_path, f"render: {{views: [&a0 [x], {', '.join(levels)}]}}")
    with pytest.raises(UserError, match="views") as caught:
        load(path)
    assert len(str(caught.value)) < 1000


def test_the_hash_tells_configurations_apart_and_is_stable():
    assert config_hash(RenderConfig()) == config_hash(RenderConfig(views=20))
    assert config_hash(RenderConfig()) != config_hash(RenderConfig(views=21))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_load(path: Path):
    load(path)


def test_point_e_is_the_papers():
    run = load(CONFIGS / "point_e.yaml")
    assert (run.render.views, run.render.resolution, run.render.cameras, run.fuse.points) == (
        20,
        512,
        "random",
        4096,
    )
    assert (run.train.width, run.train.layers, run.train.heads, run.train.points) == (512, 12, 8, 1024)
