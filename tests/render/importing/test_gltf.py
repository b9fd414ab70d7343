"""glTF files that Blender refuses or does not show."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.gltf_files import write_gltf
from tests.helpers.importing import bring_in, size

POINTS = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1]], float)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


@pytest.mark.parametrize("after", [b"\0", b"\0" * 64, b"appended"])
def test_bytes_after_the_end_of_a_glb(after: bytes, tmp_path: Path) -> None:
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, [{"mesh": 0}])
    text = (tmp_path / "a.gltf").read_bytes()
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<I4s", len(text), b"JSON") + text
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk + after)
    assert np.allclose(size(bring_in(tmp_path / "a.glb", tmp_path / "s")), [3, 1, 2])


def test_nodes_without_a_scene_are_shown(tmp_path: Path) -> None:
    nodes = [{"children": [1], "scale": [2, 2, 2]}, {"mesh": 0}, {"mesh": 0, "translation": [7, 0, 0]}]
    write_gltf(tmp_path / "a.gltf", POINTS, FACES, nodes)
    document = json.loads((tmp_path / "a.gltf").read_text())
    del document["scenes"], document["scene"]
    (tmp_path / "b.gltf").write_text(json.dumps(document))
    assert np.allclose(size(bring_in(tmp_path / "b.gltf", tmp_path / "s")), [10, 2, 4])
