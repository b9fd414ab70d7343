"""Against an older checkout: errors of color have a closed form, and a checkout equals itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pipeline.bench.against import Comparison, color_error, tables
from render.failures import UserError
from tests.helpers.places import ROOT


def test_color_error_counts_the_surface_and_alpha_the_edges() -> None:
    true = np.full((1, 2, 2, 4), 100.0)
    true[0, :, :, 3] = [[255, 255], [128, 0]]
    image, surface = true.copy(), np.array([[[True, True], [False, False]]])
    image[0, 0, :, :3] += 1  # a level on the surface
    image[0, 1, 0] += 8  # an edge: its color does not count
    psnr, alpha = color_error(image, true, surface)
    assert psnr == pytest.approx(20 * np.log10(255))
    assert alpha == 8


def test_ratios_are_after_over_before() -> None:
    found = Comparison("cube", seconds={"render": [4.0, 1.0]}, sizes={"bundle.zip": [100, 105]})
    assert (found.ratio("render"), found.ratio("bundle.zip")) == (0.25, 1.05)


def test_a_folder_without_a_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a checkout"):
        next(tables(tmp_path, (32,), 1, 0))


@pytest.mark.soak
def test_a_checkout_writes_the_bytes_that_it_writes(tmp_path: Path) -> None:
    model = tmp_path / "box.stl"
    trimesh.creation.box().export(model)
    text = "\n".join(tables(ROOT, (32,), 1, 8, {"box": model}))
    line = next(line for line in text.splitlines() if line.startswith("| box |"))
    cells = [cell.strip() for cell in line.split("|")]
    _, _, render, fuse, render_peak, fuse_peak, _, sizes, psnr, alpha, _ = cells
    assert sizes == "1.00, 1.00"
    assert all(re.fullmatch(r"[\d.]+ -> [\d.]+ \([\d.]+\)", cell) for cell in (render, fuse))
    peaks = [[int(peak) for peak in cell.split()[::2][:2]] for cell in (render_peak, fuse_peak)]
    assert all(100 < before < 2000 and after == pytest.approx(before, rel=0.1) for before, after in peaks)
    assert all(float(value) >= 0 for cell in (psnr, alpha) for value in cell.split(" -> "))
    assert "| render |" in text and "| outside only / plain script |" in text
