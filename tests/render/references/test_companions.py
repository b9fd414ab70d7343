"""Materials and textures that a model names badly come out as they were meant, staged and imported for real.

Every model here is a quad with a texture of one color; what Blender loads must have that color.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.staging import stage
from tests.helpers.textured_models import (
    BLUE,
    RED,
    WRITERS,
    imported,
    obj,
    picture,
    text,
)

PLACES = {
    "beside": ("wood.png", "set/c/meshes/wood.png"),
    "case": ("Maps/Wood.PNG", "set/c/meshes/maps/wood.png"),
    "backslash": ("maps\\wood.png", "set/c/meshes/maps/wood.png"),
    "percent": ("my%20wood.png", "set/c/meshes/my wood.png"),
    "windows": ("C:\\me\\tex\\wood.png", "set/c/meshes/wood.png"),
    "unix": ("/home/me/wood.png", "set/c/meshes/wood.png"),
    "file-uri": ("file:///C:/me/wood.png", "set/c/meshes/wood.png"),
    "google-scanned-objects": ("wood.png", "set/c/materials/textures/wood.png"),
    "sketchfab": ("wood.png", "set/c/textures/wood.png"),
    "shapenet": ("./wood.png", "set/c/images/wood.png"),
    "unity": ("..\\..\\Materials\\wood.png", "set/c/Textures/oak/wood.png"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_texture_is_found(kind: str, place: str, tmp_path: Path):
    name, where = PLACES[place]
    root = tmp_path / "models"
    WRITERS[kind](root / "set/c/meshes", name)
    picture(root / where)
    found, staged = imported(root, f"set/c/meshes/m.{kind}", tmp_path)
    assert found["colors"] == [RED], (found, staged)
    assert found["missing"] == []
    assert root / where in staged.companions


@pytest.mark.parametrize("name", ["lost.png", "maps\\lost.png", "C:\\me\\lost.png", "../../../../lost.png"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_texture_that_is_nowhere_is_named(kind: str, name: str, tmp_path: Path):
    root = tmp_path / "models"
    WRITERS[kind](root / "c", name)
    found, _ = imported(root, f"c/m.{kind}", tmp_path)
    assert found["missing"] == ["lost.png"]
    assert found["colors"] == []


ESCAPES = {
    "as it is on disk": ("wood%20x.png", "wood%20x.png"),
    "a query": ("wood.png?v=2", "wood.png"),
    "Latin 1": ("St%FChl.png", "Stühl.png"),
    "a question mark": ("what%3F.png", "what?.png"),
}


@pytest.mark.parametrize("case", ESCAPES)
@pytest.mark.parametrize("kind", ["gltf", "dae"])
def test_escapes_in_names(kind: str, case: str, tmp_path: Path):
    name, where = ESCAPES[case]
    root = tmp_path / "models"
    WRITERS[kind](root / "c", name)
    picture(root / "c" / where)
    found, staged = imported(root, f"c/m.{kind}", tmp_path)
    assert (found["colors"], found["missing"]) == ([RED], []), staged


@pytest.mark.parametrize("kind", ["gif", "pcx", "ppm", "avif"])
def test_images_that_blender_cannot_decode(kind: str, tmp_path: Path):
    if f".{kind}" not in Image.registered_extensions():
        pytest.skip(f"this Pillow lacks {kind}")
    root = tmp_path / "models"
    obj(root / "c", f"wood.{kind}")
    Image.new("RGB", (16, 16), tuple(RED)).save(root / f"c/wood.{kind}")
    found, staged = imported(root, "c/m.obj", tmp_path)
    assert (found["missing"], len(found["colors"])) == ([], 1), staged
    assert max(abs(a - b) for a, b in zip(found["colors"][0], RED, strict=True)) <= 2


def test_the_nearest_namesake_is_taken_and_none_of_two_strangers(tmp_path: Path):
    root = tmp_path / "models"
    for model in ("a", "b", "c"):
        obj(root / "set" / model / "meshes", "tex\\wood.png")
    picture(root / "set/a/images/wood.png")
    picture(root / "set/b/textures/wood.png", BLUE)
    assert imported(root, "set/a/meshes/m.obj", tmp_path / "1")[0]["colors"] == [RED]
    assert imported(root, "set/b/meshes/m.obj", tmp_path / "2")[0]["colors"] == [BLUE]
    found, _ = imported(root, "set/c/meshes/m.obj", tmp_path / "3")
    assert (found["colors"], found["missing"]) == ([], ["wood.png"])


def test_folders_that_agree_with_a_stale_path_decide(tmp_path: Path):
    root = tmp_path / "models"
    obj(root / "c", "D:\\project\\oak\\wood.png")
    picture(root / "c/pine/wood.png", BLUE)
    picture(root / "c/x/y/oak/wood.png", RED)
    assert imported(root, "c/m.obj", tmp_path)[0]["colors"] == [RED]


def test_a_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is near is found although the collection has more entries than are looked at."""
    monkeypatch.setattr("render.references.lookup.MOST_ENTRIES", 50)
    root = tmp_path / "models"
    for number in range(100):
        text(root / f"set/a{number:03d}/x.txt", "")
    obj(root / "set/m/meshes", "C:\\wood.png")
    picture(root / "set/m/textures/wood.png")
    picture(root / "set/zzz/far.png")
    staged = stage(root / "set/m/meshes/m.obj", "set/m/meshes/m.obj", tmp_path / "in")
    assert root / "set/m/textures/wood.png" in staged.companions
    text(root / "set/m/meshes/m.mtl", "newmtl a\nmap_Kd far.png\n")
    staged = stage(root / "set/m/meshes/m.obj", "set/m/meshes/m.obj", tmp_path / "in-2")
    assert [path.name for path in staged.companions] == ["m.mtl"]
