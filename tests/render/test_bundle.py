"""The view bundle: it round-trips, is byte-identical each time, and names its damage."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from render.bundle import Bundle, BundleError, Camera, Mesh, Surface, View, png, write_bundle
from render.bundle.codes import decode_depth, decode_normal, encode_depth, encode_normal
from render.cameras import look_at_origin

META = {
    "uid": "x",
    "source": "x.glb",
    "source_sha256": "0" * 64,
    "format": "glb",
    "center": [0.0, 0.0, 0.0],
    "scale": 1.0,
}


def some_view(seed: int, fov: float = 0.7) -> View:
    rng = np.random.default_rng(seed)
    hit = rng.random((8, 8)) < 0.6
    normal = rng.normal(size=(8, 8, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return View(
        camera=Camera(look_at_origin(rng.normal(size=3), 4.0), fov),
        rgba=rng.integers(0, 256, (8, 8, 4)).astype(np.uint8),
        depth=np.where(hit, rng.uniform(3, 5, (8, 8)), 0).astype(np.float32),
        albedo=np.where(hit[..., None], rng.integers(0, 256, (8, 8, 3)), 0).astype(np.uint8),
        normal=np.where(hit[..., None], normal, 0).astype(np.float32),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    write_bundle(tmp_path / "x.zip", [some_view(0), some_view(1)], mesh, META)
    return tmp_path / "x.zip"


def test_round_trip(path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.check()
        assert len(bundle) == 2 and bundle.meta["source"] == "x.glb"
        assert np.array_equal(bundle.mesh().vertices, np.eye(3))
        for index, view in enumerate(bundle.views()):
            written = some_view(index)
            assert np.array_equal(view.camera.camera_to_world, written.camera.camera_to_world)
            assert np.array_equal(view.rgba, written.rgba) and np.array_equal(view.albedo, written.albedo)
            assert np.abs(view.depth - written.depth).max() < 2 / 65534
            assert (view.normal * written.normal).sum(-1)[written.depth > 0].min() > 0.9999


def test_surfaces_are_the_layers_without_their_empty_pixels(tmp_path: Path) -> None:
    first, *behind = map(some_view, range(4))
    surfaces = []
    for view in behind:
        pixel = np.flatnonzero(view.depth)
        albedo, normal = view.albedo.reshape(-1, 3)[pixel], view.normal.reshape(-1, 3)[pixel]
        surfaces.append(Surface(pixel, view.depth.ravel()[pixel], albedo, normal))
    mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    write_bundle(tmp_path / "x.zip", [replace(first, behind=surfaces)], mesh, META)
    with Bundle(tmp_path / "x.zip") as bundle:
        view = bundle.view(0)
        assert len(view.behind) == 3 and len(bundle.view(0, hidden=False).behind) == 0
        assert (view.layer_count() == sum(one.depth > 0 for one in (first, *behind))).all()
        for layer, written in zip(view.layers(), (first, *behind), strict=True):
            assert np.array_equal(layer.albedo, written.albedo)
            assert np.abs(layer.depth - written.depth).max() < 2 / 65534
            assert (layer.normal * written.normal).sum(-1)[written.depth > 0].min() > 0.9999


def test_unzipped_it_is_a_nerf_dataset(path: Path, tmp_path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.extract(tmp_path / "nerf")
    transforms = json.loads((tmp_path / "nerf" / "transforms.json").read_text())
    assert transforms["camera_angle_x"] == pytest.approx(0.7)
    assert transforms["fl_x"] == pytest.approx(4 / np.tan(0.35))
    for frame in transforms["frames"]:
        assert (tmp_path / "nerf" / frame["file_path"]).exists()
        assert np.array(frame["transform_matrix"]).shape == (4, 4)


def test_views_of_different_lenses_each_have_their_focal_length(tmp_path: Path) -> None:
    mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    write_bundle(tmp_path / "x.zip", [some_view(0, 0.7), some_view(1, 0.4)], mesh, META)
    with Bundle(tmp_path / "x.zip") as bundle:
        assert [view.camera.fov for view in bundle.views()] == pytest.approx([0.7, 0.4])
        bundle.extract(tmp_path / "nerf")
    transforms = json.loads((tmp_path / "nerf" / "transforms.json").read_text())
    assert not {"camera_angle_x", "fl_x", "fl_y"} & set(transforms)
    assert [frame["fl_x"] for frame in transforms["frames"]] == pytest.approx(4 / np.tan([0.35, 0.2]))


def test_same_contents_same_bytes(path: Path, tmp_path: Path) -> None:
    mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    write_bundle(tmp_path / "y.zip", [some_view(0), some_view(1)], mesh, META)
    assert (tmp_path / "y.zip").read_bytes() == path.read_bytes()


def test_albedo_is_encoded_as_suits_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photograph = np.indices((64, 64)).sum(0)[..., None] + rng.integers(0, 4, (64, 64, 3))
    flat = rng.integers(0, 256, (8, 8, 3)).repeat(8, 0).repeat(8, 1)
    everywhere = np.full((64, 64), 4, np.float32)
    for smooth, albedo in ((True, photograph.astype(np.uint8)), (False, flat.astype(np.uint8))):
        view = View(some_view(0).camera, np.zeros((64, 64, 4), np.uint8), everywhere, albedo, albedo / 400)
        mesh = Mesh(np.eye(3, dtype=np.float32), np.zeros((0, 3), np.int32))
        write_bundle(tmp_path / "x.zip", [view] * 40, mesh, META)
        with zipfile.ZipFile(tmp_path / "x.zip") as archive:
            sizes = {archive.getinfo(f"albedo/{i:03d}.png").file_size for i in range(40)}
        assert sizes == {len(png.encode(albedo, smooth))}
        assert max(sizes) < len(png.encode(albedo, not smooth))


def test_a_view_of_nothing_and_a_flat_one() -> None:
    for depth in (np.zeros(0, np.float32), np.full(16, 3, np.float32)):
        assert np.array_equal(decode_depth(*encode_depth(depth)), depth)
    assert not decode_normal(encode_normal(np.zeros((4, 3), np.float32))).any()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "not a complete view bundle"),
        (lambda data: b"", "not a complete view bundle"),
    ],
    ids=["truncated", "empty"],
)
def test_damage_is_named(path: Path, damage, words: str) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BundleError, match=words) as error:
        Bundle(path)
    assert str(path) in str(error.value) and "render again" in str(error.value)


def test_a_flipped_byte_is_found(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 12] ^= 0xFF
    path.write_bytes(bytes(data))
    with Bundle(path) as bundle, pytest.raises(BundleError, match="CRC"):
        bundle.check()
    with Bundle(path) as bundle, pytest.raises(BundleError, match=r"x\.zip: .*CRC"):
        bundle.extract(path.parent / "views")


def test_a_missing_bundle_and_another_schema(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle(tmp_path / "none.zip")
    mesh = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    write_bundle(tmp_path / "old.zip", [some_view(0)], mesh, META | {"schema_version": 0})
    with pytest.raises(BundleError, match="schema 0"):
        Bundle(tmp_path / "old.zip")


def test_a_mesh_damaged_within_its_archive_is_named(tmp_path: Path) -> None:
    """The bundle's own checksums are right, as a hostile one's are."""
    mesh = Mesh(np.random.default_rng(1).random((99, 3), np.float32), np.array([[0, 1, 2]], np.int32))
    write_bundle(tmp_path / "x.zip", [some_view(0)], mesh, META)
    with zipfile.ZipFile(tmp_path / "x.zip") as old, zipfile.ZipFile(tmp_path / "y.zip", "w") as new:
        for name in old.namelist():
            data = bytearray(old.read(name))
            if name == "mesh.npz":
                data[300:310] = bytes(10)
            new.writestr(name, bytes(data))
    with Bundle(tmp_path / "y.zip") as bundle, pytest.raises(BundleError, match=r"mesh\.npz.*again"):
        bundle.mesh()
