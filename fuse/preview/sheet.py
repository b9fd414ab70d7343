"""A contact sheet of a dataset: each model's lit view, depth, albedo and cloud, side by side.

`insideout sheet OUT --to FILE.png` shows in seconds which models are cropped, upside down, black or exploded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fuse.dataset.layout import Layout, open_dataset
from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import Row, Shard, decode
from fuse.preview.cutaway import on_gray
from fuse.preview.picture import BACKGROUND, check_ending, draw_cloud
from fuse.preview.thumbs import best_view
from render.bundle import Bundle, View
from render.failures import UserError

COLUMNS = ["uid", "source", "outside_xyz", "outside_rgb"]
PANELS = 4
CAPTION = 14  # pixels below each model


def write_sheet(out: Path, to: Path, models: Sequence[str], size: int, across: int, most: int) -> int:
    """Draw the named models (uid or source path), or the first `most`, into one PNG. Returns their number.

    UserError where `to` has no picture's ending, or no such model is fused.
    """
    check_ending(to)
    layout = open_dataset(out)
    rows = [row for row in _rows(layout) if not models or {row["uid"], row["source"]} & set(models)]
    if not rows:
        raise UserError(
            f"{out}: no fused model {'named ' + ', '.join(models) if models else ''}. Fuse it first."
        )
    rows = sorted(rows, key=lambda row: row["source"])[:most]
    strips = [strip(row, layout, size) for row in rows]
    width, height = strips[0].size
    across = min(across, len(strips))
    sheet = Image.new("RGB", (width * across, height * -(-len(strips) // across)), "white")
    for index, image in enumerate(strips):
        sheet.paste(image, (index % across * width, index // across * height))
    to.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(to)
    return len(strips)


def strip(row: Row, layout: Layout, size: int) -> Image.Image:
    """Lit view, depth, albedo and cloud of one model from one camera, above its name."""
    with Bundle(layout.bundle(row["uid"])) as bundle:
        poses = [bundle.camera(i).camera_to_world for i in range(len(bundle))]
        view = bundle.view(best_view(poses))
    cloud = draw_cloud(decode(row, "outside_xyz"), decode(row, "outside_rgb"), size, camera=view.camera)
    panels = [Image.fromarray(pixels).resize((size, size)) for pixels in _pictures(view)]
    image = Image.new("RGB", (PANELS * size, size + CAPTION), "white")
    for index, panel in enumerate([*panels, cloud]):
        image.paste(panel, (index * size, 0))
    ImageDraw.Draw(image).text((4, size), row["source"][-PANELS * size // 7 :], fill="black")
    return image


def _rows(layout: Layout) -> list[Row]:
    rows: list[Row] = []
    for part in read_manifest(layout.clouds):
        with Shard(layout.shard(part.file)) as shard:
            rows += shard.rows(COLUMNS)
    return rows


def _pictures(view: View) -> list[np.ndarray]:
    """(H, W, 3) uint8: the lit view on gray, depth with near bright, albedo on gray."""
    lit = on_gray(view.rgba)
    hit = view.depth > 0
    near, far = (view.depth[hit].min(), view.depth[hit].max()) if hit.any() else (0, 1)
    depth = np.where(hit, 255 - 190 * (view.depth - near) / max(far - near, 1e-6), 0)
    albedo = np.where(hit[..., None], view.albedo, np.array(BACKGROUND, np.uint8))
    return [lit.astype(np.uint8), np.repeat(depth[..., None], 3, 2).astype(np.uint8), albedo.astype(np.uint8)]
