"""An OBJ whose material names UDIM tiles shows each tile at its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from render.bundle import Bundle


def test_tiles(render: Callable[..., Bundle], tmp_path: Path) -> None:
    for number, color in ((1001, (200, 30, 30)), (1002, (30, 30, 200))):
        Image.new("RGB", (8, 8), color).save(tmp_path / f"skin.{number}.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd skin.<UDIM>.png\n")
    quads = "".join(f"v {x} {y} 0\nvt {x} {y}\n" for x in (0, 1, 2) for y in (0, 1))
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{quads}usemtl m\nf 1/1 3/3 4/4 2/2\nf 3/3 5/5 6/6 4/4\n")
    bundle = render(tmp_path / "a.obj")
    albedo = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    assert bundle.meta["missing_textures"] == []
    for color in ((200, 30, 30), (30, 30, 200)):
        assert (np.abs(albedo - color).max(1) <= 4).mean() > 0.4
