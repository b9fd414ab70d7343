"""One model in Rerun's viewer: cameras with their images, depth and hidden layers, and points by their label.

`show` opens the viewer or writes an .rrd file that it opens. Everything is in the normalized frame.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from fuse.dataset.layout import Layout, open_dataset
from fuse.dataset.shard import Row, image_column, open_png
from fuse.export.model import LABELS, find_row, points_of
from render.bundle import Bundle, View

_COLORS = ((120, 144, 156), (255, 112, 67), (92, 107, 192))
"""Of the labels outside, hidden and solid."""
_RADIUS = 0.006
_CAMERA = 0.3  # distance of the image plane from the camera in the 3D view


def show(out: Path, uid: str, to: Path | None = None, most: int = 0) -> Row:
    """Show the model `uid` (its uid or source path) of a dataset; return its row.

    `to` is the .rrd file to write instead of opening the viewer. `most` views at most; 0: all.
    """
    import rerun as rr

    layout = open_dataset(out)
    row = find_row(layout, uid, columns=None)
    recording = rr.RecordingStream("insideout", recording_id=row["uid"])
    if to is None:
        recording.spawn()
    else:
        to.parent.mkdir(parents=True, exist_ok=True)
        recording.save(to)
    recording.log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    _log_points(recording, row)
    cameras = row["cameras"][: most or None]
    for number, camera in enumerate(cameras):
        _log_camera(recording, f"views/{number:03d}", camera, row[image_column(number)])
    _log_layers(recording, layout, row["uid"], len(cameras))
    recording.disconnect()  # flushes
    return row


def _log_points(recording: Any, row: Row) -> None:
    """`points/KIND` in their colors, and `labels/KIND`, the same points in one color.

    No annotation context: Rerun 0.23 logs none with numpy 1, and only warns.
    """
    import rerun as rr

    for number, kind in enumerate(LABELS):
        xyz, rgb, _ = points_of(row, kind, albedo=False)
        recording.log(f"points/{kind}", rr.Points3D(xyz, colors=rgb, radii=_RADIUS), static=True)
        one = rr.Points3D(xyz, colors=_COLORS[number], class_ids=number, radii=_RADIUS)
        recording.log(f"labels/{kind}", one, static=True)


def _log_camera(recording: Any, path: str, camera: Row, image: bytes) -> None:
    """A view's pinhole, which looks along its own -z with +y up, and its image."""
    import rerun as rr

    pose = np.reshape(camera["camera_to_world"], (4, 4))
    width, height = open_png(image).size
    recording.log(path, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]), static=True)
    pinhole = rr.Pinhole(
        focal_length=width / 2 / math.tan(camera["fov"] / 2),
        width=width,
        height=height,
        camera_xyz=rr.ViewCoordinates.RUB,
        image_plane_distance=_CAMERA,
    )
    recording.log(path, pinhole, static=True)
    recording.log(f"{path}/image", rr.EncodedImage(contents=image, media_type="image/png"), static=True)


def _log_layers(recording: Any, layout: Layout, uid: str, most: int) -> None:
    """`views/NNN/layer_K`: depth and base color of every surface along the rays, if the bundle is there."""
    import rerun as rr

    path = layout.bundle(uid)
    if not path.exists():
        return
    with Bundle(path) as bundle:
        for number in range(min(most, len(bundle))):
            view: View = bundle.view(number)
            for index, layer in enumerate(view.layers()):
                name = f"views/{number:03d}/layer_{index}"
                recording.log(f"{name}/depth", rr.DepthImage(layer.depth, meter=1.0), static=True)
                recording.log(f"{name}/albedo", rr.Image(layer.albedo).compress(), static=True)
