"""Writes view bundles. The bytes depend on the contents only, never on time or machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from render.bundle import png
from render.bundle.codes import encode_depth, encode_normal
from render.bundle.members import MESH, META, SCHEMA_VERSION, TRANSFORMS
from render.bundle.views import Mesh, Surface, View, scatter

_EPOCH = (1980, 1, 1, 0, 0, 0)
_TRIALS = 32  # albedo images that are encoded both ways at first
_LOSS = 0.01  # share of albedo's bytes that may be lost by encoding the others one way


def write_bundle(path: Path, views: Sequence[View], mesh: Mesh, meta: dict[str, Any]) -> None:
    """Write a bundle to `path`. The caller makes that atomic (temporary name, fsync, rename)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        albedo = _AlbedoEncoder()
        frames = [_write_view(archive, f"{i:03d}", view, albedo) for i, view in enumerate(views)]
        _add(archive, TRANSFORMS, _json(_transforms(views, frames), indent=None))
        _add(archive, MESH, _npz(vertices=mesh.vertices, faces=mesh.faces))
        _add(archive, META, _json({"schema_version": SCHEMA_VERSION, **meta}))


class _AlbedoEncoder:
    """PNG files of albedo images, whose textures may be photographs or flat colors.

    They are encoded both ways, and the smaller file counts, until one way alone would have done.
    """

    def __init__(self) -> None:
        self._ways = [False, True]  # smooth or not
        self._sizes: list[list[int]] = []

    def __call__(self, pixels: np.ndarray) -> bytes:
        found = [png.encode(pixels, smooth) for smooth in self._ways]
        self._sizes.append([len(one) for one in found])
        if len(self._sizes) == _TRIALS:
            sizes = np.array(self._sizes)
            best = int(sizes.sum(0).argmin())
            if sizes[:, best].sum() <= (1 + _LOSS) * sizes.min(1).sum():
                self._ways = [self._ways[best]]
        return min(found, key=len)


def _write_view(
    archive: zipfile.ZipFile, name: str, view: View, encode_albedo: Callable[[np.ndarray], bytes]
) -> dict[str, Any]:
    """Write one view's images; return its frame for transforms.json."""

    def write(path: str, image: bytes) -> str:
        _add(archive, path, image)
        return path

    def write_layer(surface: Surface, path: str) -> dict[str, Any]:
        """`{}` in `path` stands for the kind of image. Return the layer's entries of the frame."""
        code, near, far = encode_depth(surface.depth)
        depth, normal, albedo = (
            scatter(surface.pixel, values, view.depth.shape)
            for values in (code, encode_normal(surface.normal), surface.albedo)
        )
        return {
            "depth_file_path": write(path.format("depth"), png.encode(depth, smooth=True)),
            "depth_near": near,
            "depth_far": far,
            "albedo_file_path": write(path.format("albedo"), encode_albedo(albedo)),
            "normal_file_path": write(path.format("normal"), png.encode(normal, smooth=False)),
        }

    hidden = [
        write_layer(surface, f"hidden/{name}_{rank}_{{}}.png")
        for rank, surface in enumerate(view.behind, start=1)
    ]
    layers = view.layer_count().clip(0, 255).astype(np.uint8)
    frame = {
        "file_path": write(f"rgba/{name}.png", png.encode(view.rgba, smooth=True)),
        **write_layer(_first_surface(view), f"{{}}/{name}.png"),
        "layers_file_path": write(f"layers/{name}.png", png.encode(layers, smooth=False)),
        "camera_angle_x": view.camera.fov,
        "transform_matrix": view.camera.camera_to_world.tolist(),
        "hidden": hidden,
    }
    if view.interior is not None:
        mask = png.encode(view.interior.astype(np.uint8) * 255, smooth=False)
        frame["interior_file_path"] = write(f"interior/{name}.png", mask)
    return frame


def _first_surface(view: View) -> Surface:
    pixel = np.flatnonzero(view.depth > 0)
    albedo, normal = (image.reshape(-1, 3)[pixel] for image in (view.albedo, view.normal))
    return Surface(pixel, view.depth.ravel()[pixel], albedo, normal)


def _transforms(views: Sequence[View], frames: list[dict[str, Any]]) -> dict[str, Any]:
    """The file's contents; where fields of view differ, each frame has its own focal length."""
    height, width = views[0].depth.shape
    lenses = [_lens(view.camera.fov, width) for view in views]
    shared = {"w": width, "h": height, "cx": width / 2, "cy": height / 2}
    if all(lens == lenses[0] for lens in lenses):
        shared |= lenses[0]
    else:
        frames = [lens | frame for lens, frame in zip(lenses, frames, strict=True)]
    return {"camera_model": "OPENCV", **shared, "frames": frames}


def _lens(fov: float, width: int) -> dict[str, float]:
    focal = float(width / 2 / np.tan(fov / 2))
    return {"camera_angle_x": fov, "fl_x": focal, "fl_y": focal}


def _npz(**arrays: np.ndarray) -> bytes:
    """As `np.savez_compressed`, in a third of the time for as many bytes; members are undated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def _json(value: Any, indent: int | None = 1) -> bytes:
    """Without `indent` in a tenth of the time."""
    return json.dumps(value, indent=indent, sort_keys=True, allow_nan=False).encode()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
