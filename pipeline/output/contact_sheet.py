"""OUT/contact-sheet.jpg: models from all over the dataset in one picture, for its card."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import Part
from fuse.dataset.shard import Row, Shard, ShardError, decode, image_column
from fuse.preview.thumbs import best_view, thumb_sheet, webp

MOST = 48
_ACROSS = 8
_VIEWS = 4  # of which the one that shows the model best is taken


def contact_sheet(layout: Layout, parts: Sequence[Part]) -> bytes | None:
    """A JPEG of the first models of evenly chosen shards; None where no shard has images."""
    places = np.unique(np.linspace(0, len(parts) - 1, MOST).round().astype(int)) if parts else []
    chosen = [parts[place] for place in places]
    each = -(-MOST // max(1, len(chosen)))
    pictures = [picture for part in chosen for picture in _pictures(layout, part, each)][:MOST]
    if not pictures:
        return None
    buffer = io.BytesIO()
    sheet: Image.Image = thumb_sheet(pictures, min(_ACROSS, len(pictures)))
    sheet.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _pictures(layout: Layout, part: Part, most: int) -> list[tuple[bytes, str]]:
    """Thumbnail and name of the first models of a shard; none of one that is damaged, which `verify` says."""
    try:
        with Shard(layout.shard(part.file)) as shard:
            views = min(_VIEWS, shard.views)
            columns = ["uid", "caption", "cameras", *map(image_column, range(views))]
            rows = (row for group in range(shard.row_groups) for row in shard.rows(columns, [group]))
            return [_picture(row, views) for row, _ in zip(rows, range(most), strict=False)] if views else []
    except ShardError:
        return []


def _picture(row: Row, views: int) -> tuple[bytes, str]:
    best = best_view([camera["camera_to_world"] for camera in row["cameras"][:views]])
    return webp(decode(row, image_column(best))), row["caption"] or row["uid"]
