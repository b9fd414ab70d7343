"""Reads view bundles, which may be a stranger's: whatever is wrong with one is a BundleError."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from render.bundle import png
from render.bundle.codes import decode_depth, decode_normal, unit_normals
from render.bundle.members import (
    MESH,
    META,
    TRANSFORMS,
    LayerFiles,
    Meta,
    Transforms,
    member_problem,
    mesh_array_problem,
    mesh_problem,
    unnamed_member,
)
from render.bundle.views import Camera, Layer, Mesh, Surface, View
from render.failures import UserError
from render.files import ZIP_DAMAGE, NotAFileError, open_file

REMEDY = "Delete the bundle and render again."
# what zipfile, numpy and Pillow raise for files that are not what they should be
_DAMAGE = (*ZIP_DAMAGE, LookupError, SyntaxError, MemoryError, Image.DecompressionBombError)


class BundleError(UserError):
    """A bundle that cannot be read; the message names the file and the remedy."""


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
                with self._open_image(name, self.read(name)) as image:
                    self._require_mode(name, image, mode)
        self.mesh()

    def extract(self, folder: Path) -> None:
        """Unzip into `folder`: a dataset that NeRF tools read unchanged. BundleError where a member is
        damaged."""
        try:
            self._zip.extractall(folder)
        except zipfile.BadZipFile as error:
            raise BundleError(f"{self.path}: {error}. {REMEDY}") from error

    def read(self, name: str) -> bytes:
        """The bytes of one member; its CRC is checked."""
        try:
            return self._zip.read(name)
        except _DAMAGE as error:
            raise BundleError(f"{self.path}: member {name}: {error}. {REMEDY}") from error

    def camera(self, index: int) -> Camera:
        """One view's camera."""
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
        """All views, as `view`, each decoded when it is asked for."""
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
        depth = decode_depth(code[pixel], layer.depth_near, layer.depth_far)
        return Surface(pixel, depth, albedo, unit_normals(normal))

    def _image(self, name: str, mode: str) -> np.ndarray:
        data = self.read(name)
        pixels = png.decode(data, mode, self.resolution)
        return self._by_pillow(name, data, mode) if pixels is None else pixels

    def _by_pillow(self, name: str, data: bytes, mode: str) -> np.ndarray:
        """An image that another program wrote."""
        with self._open_image(name, data) as image:
            try:
                pixels = np.array(image)
            except _DAMAGE as error:
                raise BundleError(f"{self.path}: member {name}: {error}. {REMEDY}") from error
            self._require_mode(name, image, mode)
            return pixels

    def _require_mode(self, name: str, image: Image.Image, mode: str) -> None:
        if image.mode != mode:
            raise BundleError(f"{self.path}: member {name} is {image.mode}, not {mode}. {REMEDY}")

    def _open_image(self, name: str, data: bytes) -> Image.Image:
        """The image of a member's bytes, undecoded, of the size that all have."""
        try:
            image = Image.open(io.BytesIO(data), formats=["PNG"])
        except _DAMAGE as error:
            raise BundleError(f"{self.path}: member {name}: {error}. {REMEDY}") from error
        if image.size != (self.resolution, self.resolution):
            raise BundleError(f"{self.path}: member {name} has {image.size} pixels. {REMEDY}")
        return image


def _first(error: ValidationError) -> str:
    """The first fault that was found, without the file's own content."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
