"""Binary STL that Blender's importer does not read whole: with colors of facets, or with bytes at its end.

Two conventions keep 15 bits of color in a facet's last two bytes
(en.wikipedia.org/wiki/STL_(file_format)#Color): Magics (a header with `COLOR=`, red in the low bits, bit
15 clear where the facet has its own color) and VisCAM or SolidView (blue in the low bits, bit 15 set
where the color is valid).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from render.importing.rawmesh import RawMesh
from render.srgb import srgb_to_linear

_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])


def colored_stl(path: Path) -> RawMesh | None:
    """The model with its facet colors, or None where Blender reads all of it.

    A binary STL is also read here if bytes follow its facets: Blender takes it for text then.
    """
    with path.open("rb") as file:
        header = file.read(84)
        count = int.from_bytes(header[80:84], "little")
        more = path.stat().st_size - (84 + 50 * count)
        if more < 0 or count == 0:
            return None
        facets = np.fromfile(file, _FACET, count)
    colors = facet_colors(header[:80], facets["spare"])
    if colors is None and more == 0:
        return None
    corners = facets["corners"].reshape(-1, 3)
    vertices, where = np.unique(corners, axis=0, return_inverse=True)
    linear = None if colors is None else np.repeat(srgb_to_linear(colors / 255), 3, 0)
    return RawMesh(path.stem, vertices, where.ravel(), np.full(count, 3), colors=linear)


def facet_colors(header: bytes, spare: np.ndarray) -> np.ndarray | None:
    """sRGB bytes (T, 3) of each facet from the header (80 bytes) and the spare words (T,) uint16; None
    without colors."""
    five = np.stack([spare & 31, spare >> 5 & 31, spare >> 10 & 31], 1)
    flagged = spare >> 15 == 1
    at = header.find(b"COLOR=")
    if at >= 0:
        default = np.frombuffer(header[at + 6 : at + 9].ljust(3, b"\0"), np.uint8)
        return np.where(flagged[:, None], default, np.round(five * (255 / 31)).astype(np.uint8))
    plausible = flagged | (spare == 0)
    if not flagged.any() or not plausible.all() or (spare == 0xFFFF).all():
        return None
    return np.where(flagged[:, None], np.round(five[:, ::-1] * (255 / 31)), 204).astype(np.uint8)
