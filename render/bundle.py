"""Writer and reader of the view bundle: one uncompressed zip per model, a NeRF dataset when unzipped.

    transforms.json        NeRF convention, OpenGL camera-to-world, one frame per view
    rgba/000.png           lit color, 8-bit sRGB, straight alpha
    albedo/000.png         unlit base color, 8-bit sRGB
    depth/000.png          16-bit planar z; 0 is no surface, 1..65535 spans depth_near..depth_far
    normal/000.png         8-bit world normals, (n + 1) / 2 * 255, facing the camera; 0,0,0 is no surface
    hidden/000_1_depth.png the surface behind the first, with _albedo and _normal; 000_2_... is the next
    layers/000.png         8-bit number of surfaces along each ray; 255 means 255 or more
    interior/000.png       255 where a surface that no view sees lies behind the first
    mesh.npz               the evaluated triangles in the normalized frame
    meta.json              where the model came from, what it contains, how it was rendered

The bytes depend on the contents only, never on time or machine. Needs numpy, Pillow and zlib-ng only.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from render import png
from render.bundle_members import (
    MESH,
    META,
    SCHEMA_VERSION,
    TRANSFORMS,
    LayerFiles,
    Meta,
    Transforms,
    member_problem,
    mesh_array_problem,
    mesh_problem,
    unnamed_member,
)
from render.failures import UserError
from render.files import NotAFileError, open_file

REMEDY = "Delete the bundle and render again."
# what zipfile, numpy and Pillow raise for files that are not what they should be
_DAMAGE = (
    zipfile.BadZipFile,
    LookupError,
    ValueError,
    OSError,
    EOFError,
    SyntaxError,
    MemoryError,
    RuntimeError,
    Image.DecompressionBombError,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_AXIS = (np.arange(256) / 127.5 - 1).astype(np.float32)  # (256,): of each byte of a normal


class BundleError(UserError):
    """A bundle that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True)
class Camera:
    """A pinhole that looks along its own -z with +y up (OpenGL); pixels and image are square."""

    camera_to_world: np.ndarray  # (4, 4) float64, normalized frame
    fov: float  # radians, across the full width and height


@dataclass(frozen=True)
class Layer:
    """The surfaces at one index along the rays of a view."""

    depth: np.ndarray  # (H, W) float32, planar z in normalized units, 0 where there is no surface
    albedo: np.ndarray  # (H, W, 3) uint8, 0 where there is no surface
    normal: np.ndarray  # (H, W, 3) float32, unit length, 0 where there is no surface


@dataclass(frozen=True)
class Surface:
    """A layer without its empty pixels: N pixels of a view, and what their rays hit there."""

    pixel: np.ndarray  # (N,) int64, row-major, rising
    depth: np.ndarray  # (N,) float32, planar z in normalized units
    albedo: np.ndarray  # (N, 3) uint8
    normal: np.ndarray  # (N, 3) float32, unit length, or 0 where it is unknown

    def layer(self, shape: tuple[int, ...]) -> Layer:
        """The images, of `shape` H, W."""
        return Layer(*(scatter(self.pixel, one, shape) for one in (self.depth, self.albedo, self.normal)))


@dataclass(frozen=True)
class View:
    """One RGBAD view and the layers behind its first surfaces."""

    camera: Camera
    rgba: np.ndarray  # (H, W, 4) uint8, straight alpha
    depth: np.ndarray  # (H, W) float32, planar z in normalized units, 0 where there is no surface
    albedo: np.ndarray  # (H, W, 3) uint8, 0 where there is no surface
    normal: np.ndarray  # (H, W, 3) float32, unit length, 0 where there is no surface
    behind: Sequence[Surface] = ()  # the surfaces behind the first, nearest first
    interior: np.ndarray | None = None  # (H, W) bool: a surface that no view sees lies behind

    def layers(self) -> Iterator[Layer]:
        """The images of all surfaces, nearest first."""
        yield Layer(self.depth, self.albedo, self.normal)
        yield from (surface.layer(self.depth.shape) for surface in self.behind)

    def layer_count(self) -> np.ndarray:
        """(H, W) int64: number of surfaces along each ray."""
        count = (self.depth > 0).astype(np.int64)
        for surface in self.behind:
            count.ravel()[surface.pixel] += 1
        return count


@dataclass(frozen=True)
class Mesh:
    """Triangles in the normalized frame."""

    vertices: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32


def write_bundle(path: Path, views: Sequence[View], mesh: Mesh, meta: dict[str, Any]) -> None:
    """Write a bundle to `path`. The caller makes that atomic (temporary name, fsync, rename)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        frames = [_write_view(archive, f"{i:03d}", view) for i, view in enumerate(views)]
        _add(archive, TRANSFORMS, _json(_transforms(views, frames)))
        _add(archive, MESH, _npz(vertices=mesh.vertices, faces=mesh.faces))
        _add(archive, META, _json({"schema_version": SCHEMA_VERSION, **meta}))


class Bundle:
    """A view bundle opened for reading; images are decoded on request."""

    def __init__(self, path: Path | str):
        self.path = Path(path) if isinstance(path, str) else path  # a remote path keeps its own class
        try:
            self._file = open_file(self.path) if isinstance(self.path, os.PathLike) else self.path.open("rb")
        except FileNotFoundError:
            raise BundleError(f"{path}: no such bundle. Did `insideout render` write it?") from None
        except NotAFileError as error:
            raise BundleError(str(error)) from None
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        try:
            self._zip = zipfile.ZipFile(self._file)
            problem = member_problem(self._zip, self._file.seek(0, os.SEEK_END))
            if problem is None:
                transforms = Transforms.model_validate_json(self._zip.read(TRANSFORMS))
                meta = Meta.model_validate_json(self._zip.read(META))
                problem = unnamed_member(self._zip, transforms)
        except ValidationError as error:
            raise self._broken(_first(error)) from None
        except _DAMAGE as error:
            raise self._broken(str(error)) from error
        if problem is not None:
            raise self._broken(problem)
        self.frames = transforms.frames
        self.resolution = transforms.w
        self.meta: dict[str, Any] = meta.model_dump(exclude_unset=True)

    def _broken(self, reason: str) -> BundleError:
        return BundleError(f"{self.path}: not a complete view bundle ({reason[:300]!s}). {REMEDY}")

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def __len__(self) -> int:
        return len(self.frames)

    def check(self) -> None:
        """Recompute every member's CRC, look at every image's header, read the mesh; BundleError at the first
        fault."""
        for frame in self.frames:
            for name, mode in frame.members().items():
                with self._open_image(name) as image:
                    self._require_mode(name, image, mode)
        self.mesh()

    def extract(self, folder: Path) -> None:
        """Unzip into `folder`: a dataset that NeRF tools read unchanged."""
        self._zip.extractall(folder)

    def read(self, name: str) -> bytes:
        """The bytes of one member; its CRC is checked."""
        try:
            return self._zip.read(name)
        except _DAMAGE as error:
            raise BundleError(f"{self.path}: member {name}: {error}. {REMEDY}") from error

    def camera(self, index: int) -> Camera:
        frame = self.frames[index]
        return Camera(np.array(frame.transform_matrix, np.float64), frame.camera_angle_x)

    def image_bytes(self, index: int) -> bytes:
        """The PNG of the lit view, as stored."""
        return self.read(self.frames[index].file_path)

    def layers_bytes(self, index: int) -> bytes:
        """The PNG, as stored, of the number of surfaces along each ray."""
        return self.read(self.frames[index].layers_file_path)

    def interior_bytes(self, index: int) -> bytes:
        """The PNG, as stored, of where a surface that no view sees lies behind; empty for none."""
        name = self.frames[index].interior_file_path
        return self.read(name) if name else b""

    def view(self, index: int, hidden: bool = True) -> View:
        """One view; what lies behind its first surfaces only where `hidden` asks for it."""
        frame = self.frames[index]
        first, interior = self._layer(frame), frame.interior_file_path if hidden else None
        return View(
            camera=self.camera(index),
            rgba=self._image(frame.file_path, "RGBA"),
            depth=first.depth,
            albedo=first.albedo,
            normal=first.normal,
            behind=tuple(self.surfaces(index)) if hidden else (),
            interior=None if interior is None else self._image(interior, "L") > 0,
        )

    def views(self, hidden: bool = True) -> Iterator[View]:
        return (self.view(i, hidden) for i in range(len(self)))

    def surfaces(self, index: int) -> Iterator[Surface]:
        """The layers behind the first of one view, nearest first, each decoded when it is asked for."""
        return (self._surface(files) for files in self.frames[index].hidden)

    def mesh(self) -> Mesh:
        """The evaluated triangles. BundleError where they are none."""
        self._mesh_archive().close()
        try:
            with np.load(io.BytesIO(self.read(MESH)), allow_pickle=False) as arrays:
                mesh = Mesh(arrays["vertices"], arrays["faces"])
        except _DAMAGE as error:
            raise BundleError(f"{self.path}: member {MESH}: {error}. {REMEDY}") from error
        problem = mesh_array_problem(mesh.vertices, mesh.faces)
        if problem:
            raise BundleError(f"{self.path}: member {MESH}: {problem}. {REMEDY}")
        return mesh

    def _mesh_archive(self) -> zipfile.ZipFile:
        """The mesh's arrays, undecompressed."""
        try:
            archive = zipfile.ZipFile(io.BytesIO(self.read(MESH)))
            problem = mesh_problem(archive)
        except _DAMAGE as error:
            problem = str(error)
        if problem:
            raise BundleError(f"{self.path}: member {MESH}: {problem}. {REMEDY}")
        return archive

    def _layer(self, layer: LayerFiles) -> Layer:
        code = self._image(layer.depth_file_path, "I;16")
        return Layer(
            decode_depth(code, layer.depth_near, layer.depth_far),
            self._image(layer.albedo_file_path, "RGB"),
            decode_normal(self._image(layer.normal_file_path, "RGB")),
        )

    def _surface(self, layer: LayerFiles) -> Surface:
        code = self._image(layer.depth_file_path, "I;16").ravel()
        pixel = np.flatnonzero(code)
        albedo, normal = (
            self._image(name, "RGB").reshape(-1, 3)[pixel]
            for name in (layer.albedo_file_path, layer.normal_file_path)
        )
        depth = _depth(code[pixel], layer.depth_near, layer.depth_far)
        return Surface(pixel, depth, albedo, _unit(normal))

    def _image(self, name: str, mode: str) -> np.ndarray:
        with self._open_image(name) as image:
            try:
                pixels = np.array(image)
            except _DAMAGE as error:
                raise BundleError(f"{self.path}: member {name}: {error}. {REMEDY}") from error
            self._require_mode(name, image, mode)
            return pixels

    def _require_mode(self, name: str, image: Image.Image, mode: str) -> None:
        if image.mode != mode:
            raise BundleError(f"{self.path}: member {name} is {image.mode}, not {mode}. {REMEDY}")

    def _open_image(self, name: str) -> Image.Image:
        """An image, undecoded, of the size that all have."""
        try:
            image = Image.open(io.BytesIO(self.read(name)), formats=["PNG"])
        except _DAMAGE as error:
            raise BundleError(f"{self.path}: member {name}: {error}. {REMEDY}") from error
        if image.size != (self.resolution, self.resolution):
            raise BundleError(f"{self.path}: member {name} has {image.size} pixels. {REMEDY}")
        return image


def _first(error: ValidationError) -> str:
    """The first fault that was found, without the file's own content."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"


def encode_depth(depth: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(N,) float32 planar z -> (N,) uint16, near, far: their own range."""
    if not len(depth):
        return np.zeros(0, np.uint16), 0.0, 1.0
    found = depth.astype(np.float64)
    near, far = float(found.min()), float(found.max())
    far = max(far, near + 1e-6)
    return (np.rint((found - near) / (far - near) * 65534) + 1).astype(np.uint16), near, far


def decode_depth(code: np.ndarray, near: float, far: float) -> np.ndarray:
    """(H, W) uint16 -> (H, W) float32 planar z, off by at most half a step, (far - near) / 131068."""
    depth = np.zeros(code.shape, np.float32)
    hit = code > 0
    depth[hit] = _depth(code[hit], near, far)
    return depth


def _depth(code: np.ndarray, near: float, far: float) -> np.ndarray:
    """(N,) uint16, none of them 0 -> (N,) float32 planar z."""
    return (near + (code.astype(np.float64) - 1) / 65534 * (far - near)).astype(np.float32)


def encode_normal(normal: np.ndarray) -> np.ndarray:
    """(N, 3) float32 unit or zero vectors -> (N, 3) uint8; zero becomes 0,0,0."""
    code = np.rint((normal + 1) * 127.5).clip(0, 255).astype(np.uint8)
    code[~normal.any(1)] = 0
    return code


def decode_normal(code: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W, 3) float32, unit length, 0 where the code is 0,0,0."""
    flat = code.reshape(-1, 3)
    there = np.flatnonzero(_any(flat))
    normal = np.zeros(flat.shape, np.float32)
    normal[there] = _unit(flat[there])
    return normal.reshape(code.shape)


def _any(code: np.ndarray) -> np.ndarray:
    """(N,) uint8: not 0 where one of the three bytes of (N, 3) is not."""
    return code[:, 0] | code[:, 1] | code[:, 2]


def _unit(code: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 -> (N, 3) float32, unit length, 0 where the code is 0,0,0."""
    unit = _AXIS[code]
    length = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    length[_any(code) == 0] = np.inf
    return unit / length.clip(1e-6)[:, None]


def _write_view(archive: zipfile.ZipFile, name: str, view: View) -> dict[str, Any]:
    """Write one view's images; return its frame for transforms.json."""

    def write(path: str, pixels: np.ndarray, smooth: bool | None = False) -> str:
        _add(archive, path, png.encode(pixels, smooth))
        return path

    shape = view.depth.shape
    hidden = [
        _write_layer(write, surface, shape, f"hidden/{name}_{rank}_{{}}.png")
        for rank, surface in enumerate(view.behind, start=1)
    ]
    frame = {
        "file_path": write(f"rgba/{name}.png", view.rgba, True),
        **_write_layer(write, _first_surface(view), shape, f"{{}}/{name}.png"),
        "layers_file_path": write(f"layers/{name}.png", view.layer_count().clip(0, 255).astype(np.uint8)),
        "camera_angle_x": view.camera.fov,
        "transform_matrix": view.camera.camera_to_world.tolist(),
        "hidden": hidden,
    }
    if view.interior is not None:
        path = write(f"interior/{name}.png", view.interior.astype(np.uint8) * 255)
        frame["interior_file_path"] = path
    return frame


def _first_surface(view: View) -> Surface:
    pixel = np.flatnonzero(view.depth > 0)
    albedo, normal = (image.reshape(-1, 3)[pixel] for image in (view.albedo, view.normal))
    return Surface(pixel, view.depth.ravel()[pixel], albedo, normal)


def _write_layer(
    write: Callable[..., str], surface: Surface, shape: tuple[int, ...], path: str
) -> dict[str, Any]:
    """Write one layer's images; `{}` in `path` stands for their kind. Return its entries of the frame."""
    depth, near, far = encode_depth(surface.depth)
    normal = encode_normal(surface.normal)
    return {
        "depth_file_path": write(path.format("depth"), scatter(surface.pixel, depth, shape), True),
        "depth_near": near,
        "depth_far": far,
        "albedo_file_path": write(path.format("albedo"), scatter(surface.pixel, surface.albedo, shape), None),
        "normal_file_path": write(path.format("normal"), scatter(surface.pixel, normal, shape)),
    }


def scatter(pixel: np.ndarray, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, ...) values at the pixels (N,), row-major, of an image of `shape` H, W that is 0 elsewhere."""
    image = np.zeros((shape[0] * shape[1], *values.shape[1:]), values.dtype)
    image[pixel] = values
    return image.reshape(*shape, *values.shape[1:])


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


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
