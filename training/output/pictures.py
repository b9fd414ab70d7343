"""Pictures of generated clouds: from four sides, or with the image and the true cloud.

A cloud with a label channel is drawn twice: all points, and its hidden points alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from fuse.preview.picture import draw_cloud
from training.conditioning.encoder import load_pixels
from training.data.channels import from_network, hidden_of

SIDES = ((0.75, -1.0), (1.0, 0.75), (-0.75, 1.0), (-1.0, -0.75))


def draw_sides(points: np.ndarray, size: int = 320) -> Image.Image:
    """(C, N) in the network's frame, from four sides in two rows; hidden points in two more rows."""
    hidden = hidden_of(points)
    clouds = [points] if hidden is None else [points, points[:, hidden]]
    sheet = Image.new("RGB", (2 * size, 2 * size * len(clouds)), "white")
    for row, cloud in enumerate(clouds):
        xyz, rgb = from_network(cloud)
        for i, (x, y) in enumerate(SIDES):
            side = draw_cloud(xyz, rgb, size, direction=(x, y, 0.55))
            sheet.paste(side.convert("RGB"), (i % 2 * size, (2 * row + i // 2) * size))
    return sheet


def draw_sheet(
    images: Sequence[bytes], generated: np.ndarray, true: np.ndarray, size: int = 128, columns: int = 6
) -> Image.Image:
    """For each of K samples its image, its generated cloud and its true cloud, (K, C, N) both, in a column.

    An empty image is white. With a label channel, the hidden points follow below each cloud.
    """
    lines = 5 if generated.shape[1] == 7 else 3
    columns = min(columns, len(generated))
    sheet = Image.new("RGB", (columns * size, -(-len(generated) // columns) * lines * size), "white")
    for i, (image, *clouds) in enumerate(zip(images, generated, true, strict=True)):
        x, y = i % columns * size, i // columns * lines * size
        tiles = [
            Image.fromarray(load_pixels(image, size)) if image else Image.new("RGB", (size, size), "white")
        ]
        for cloud in clouds:
            hidden = hidden_of(cloud)
            for points in [cloud] if hidden is None else [cloud, cloud[:, hidden]]:
                tiles.append(draw_cloud(*from_network(points), size).convert("RGB"))
        for line, tile in enumerate(tiles):
            sheet.paste(tile, (x, y + line * size))
    return sheet
