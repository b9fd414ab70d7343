"""An import that the file contradicts gives way to one that it bears out: truth is what the tests wrote."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.engine.supervisor import Supervisor
from pipeline.sandbox.process import Limits
from render.bundle import Bundle
from render.config import RenderConfig
from render.job import Placement, RenderJob

BOX = np.array([(x, y, z) for x in (0, 3) for y in (0, 2) for z in (0, 1)], float)
"""Of 3 x 2 x 1, in the file's axes."""
FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)),
        *((2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),
    ]
)
RED = (200, 60, 20)
Lie = Callable[..., Bundle]


@pytest.fixture(scope="module")
def liar() -> Iterator[Supervisor]:
    supervisor = Supervisor("tests.helpers.lying_stage", Limits(timeout=120, memory_mib=4000))
    yield supervisor
    supervisor.close()


@pytest.fixture
def lie(liar: Supervisor, tmp_path: Path) -> Lie:
    """The bundle of a model that the importer stretches by the number in its name."""

    def run(path: Path) -> Bundle:
        config = RenderConfig(views=2, resolution=48, samples=1)
        job = RenderJob(uid="test", config_hash="test", source=path.name, config=config)
        place = Placement(input=path, output=tmp_path / "a.zip", scratch=tmp_path, input_sha256="0" * 64)
        outcome = liar.run(job, place)
        assert outcome.ok, f"{outcome.message}\n{outcome.log_tail}"
        return Bundle(place.output)

    return run


def _sizes(bundle: Bundle) -> np.ndarray:
    return np.ptp(bundle.mesh().vertices, axis=0) / bundle.meta["scale"]


def _albedo(bundle: Bundle) -> np.ndarray:
    view = bundle.view(0)
    return view.albedo[view.depth > 0]


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), RED).save(stream, "PNG")
    return stream.getvalue()


def _gltf(path: Path, materials: list[str]) -> None:
    """The box, textured red; a primitive per material."""
    parts = [BOX.astype("<f4"), np.full((8, 2), 0.5, "<f4"), FACES.astype("<u2")]
    blobs = [*(part.tobytes() for part in parts), _png()]
    starts = np.cumsum([0, *map(len, blobs)]).tolist()
    kinds = ((5126, 8, "VEC3"), (5126, 8, "VEC2"), (5123, FACES.size, "SCALAR"))
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": i}
                    for i in range(len(materials))
                ]
            }
        ],
        "materials": [
            {"name": name, "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0}}
            for name in materials
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "buffers": [{"byteLength": starts[-1], "uri": _data(b"".join(blobs))}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(blob)}
            for start, blob in zip(starts, blobs, strict=False)
        ],
        "accessors": [
            {"bufferView": i, "componentType": component, "count": count, "type": kind}
            for i, (component, count, kind) in enumerate(kinds)
        ],
    }
    path.write_text(json.dumps(document))


def _data(content: bytes) -> str:
    return "data:;base64," + base64.b64encode(content).decode()


def _obj(path: Path) -> None:
    (path.parent / "red.png").write_bytes(_png())
    (path.parent / "a.mtl").write_text("newmtl paint\nmap_Kd red.png\n")
    rows = "".join("v {} {} {}\n".format(*point) for point in BOX)
    faces = "".join("f {}/1 {}/1 {}/1\n".format(*face) for face in FACES + 1)
    path.write_text(f"mtllib a.mtl\n{rows}vt 0.5 0.5\nusemtl paint\n{faces}")


def _ply(path: Path) -> None:
    red, green, blue = RED
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 8\n"
        + "".join(f"property float {axis}\n" for axis in "xyz")
        + "".join(f"property uchar {color}\n" for color in ("red", "green", "blue"))
        + "element face 12\nproperty list uchar int vertex_indices\nend_header\n"
        + "".join("{} {} {} {} {} {}\n".format(*point, red, green, blue) for point in BOX)
        + "".join("3 {} {} {}\n".format(*face) for face in FACES)
    )


def _stl(path: Path) -> None:
    facets = np.zeros(len(FACES), [("normal", "<f4", 3), ("at", "<f4", (3, 3)), ("spare", "<u2")])
    facets["at"] = BOX[FACES]
    path.write_bytes(bytes(80) + len(FACES).to_bytes(4, "little") + facets.tobytes())


WRITERS: dict[str, Callable[[Path], None]] = {
    "gltf": lambda path: _gltf(path, ["paint"]),
    "obj": _obj,
    "ply": _ply,
    "stl": _stl,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_right_shape_is_taken_and_colors_stay(suffix: str, lie: Lie, tmp_path: Path) -> None:
    path = tmp_path / f"1.5.{suffix}"
    WRITERS[suffix](path)
    bundle = lie(path)
    assert bundle.meta["importer"] == "assimp"
    assert any("the file's box is 3 x" in note and "a liar's" in note for note in bundle.meta["notes"])
    assert np.allclose(_sizes(bundle), [3, 1, 2] if suffix in ("gltf", "obj") else [3, 2, 1], atol=1e-5)
    assert suffix == "stl" or np.abs(_albedo(bundle).astype(int) - RED).max() <= 3


def test_where_no_other_library_reads_it_the_import_stays(lie: Lie, tmp_path: Path) -> None:
    (tmp_path / "1.5.usda").write_text(
        '#usda 1.0\n(\nupAxis = "Z"\nmetersPerUnit = 1\n)\ndef Mesh "m" {\n'
        f"int[] faceVertexCounts = {[3] * 12}\nint[] faceVertexIndices = {FACES.ravel().tolist()}\n"
        f"point3f[] points = {[tuple(point) for point in BOX.tolist()]}\n}}\n"
    )
    bundle = lie(tmp_path / "1.5.usda")
    assert "wm.usd_import" in bundle.meta["importer"]
    assert any("the file's box is 3 x" in note for note in bundle.meta["notes"])
    assert np.allclose(_sizes(bundle), [4.5, 2, 1], atol=1e-5)


@pytest.mark.parametrize(("stretch", "taken"), [("1.03", False), ("1.5", True)])
def test_images_outweigh_a_small_error_only(stretch: str, taken: bool, lie: Lie, tmp_path: Path) -> None:
    path = tmp_path / f"{stretch}.gltf"
    _gltf(path, ["paint", "paint"])  # which of Blender's is which, nobody knows
    bundle = lie(path)
    assert (bundle.meta["importer"] == "assimp") == taken
    assert np.isclose(_sizes(bundle)[0], 3 if taken else 3.09)
    assert any("the file's box is 3 x" in note for note in bundle.meta["notes"])
