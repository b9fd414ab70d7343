"""The members of a view bundle: which there may be, how large, and the types of the two JSON ones.

A bundle may be a stranger's: everything in it is checked here before `reading` uses it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
TRANSFORMS, META, MESH = "transforms.json", "meta.json", "mesh.npz"
LARGEST_IMAGE = 8192
"""Pixels across."""
LARGEST_JSON = 1 << 26
"""Bytes."""
_MOST_MEMBERS = 1 << 17
_INFLATION = 100  # a mesh's arrays are at most this many times larger than their compressed form
_SMALL = 1 << 26  # bytes of a mesh that may be compressed even better
_FAR = 1e4  # normalized units: no camera is farther away
_MEMBER = re.compile(r"(rgba|albedo|depth|normal|layers|interior|hidden)/\w{1,32}\.png")


def _pose(matrix: list[list[float]]) -> list[list[float]]:
    """A rotation and a translation: anything else would put points nowhere."""
    pose = np.array(matrix, np.float64)
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise ValueError("not a rotation")
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6 or not 0 < np.linalg.norm(pose[:3, 3]) < _FAR:
        raise ValueError("not a place from which the model can be seen")
    return matrix


def _schema(version: int) -> int:
    if version != SCHEMA_VERSION:
        raise ValueError(f"bundle schema {version}, but this release reads {SCHEMA_VERSION}")
    return version


def _member(name: str) -> str:
    if not _MEMBER.fullmatch(name):
        raise ValueError("not the name of an image")
    return name


Four = Annotated[list[float], Field(min_length=4, max_length=4)]
Pose = Annotated[list[Four], Field(min_length=4, max_length=4), AfterValidator(_pose)]
Angle = Annotated[float, Field(gt=0, lt=np.pi)]
Depth = Annotated[float, Field(ge=0, le=2 * _FAR)]
Single = Annotated[float, Field(ge=-3e38, le=3e38)]
"""Fits float32."""
Member = Annotated[str, AfterValidator(_member)]


class _Json(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class LayerFiles(_Json):
    """The images of one layer of a view."""

    depth_file_path: Member
    depth_near: Depth
    depth_far: Depth
    albedo_file_path: Member
    normal_file_path: Member


class Frame(LayerFiles):
    """One view: its camera, its images, and the layers behind the first."""

    file_path: Member
    layers_file_path: Member
    interior_file_path: Member | None = None
    camera_angle_x: Angle
    transform_matrix: Pose
    hidden: Annotated[tuple[LayerFiles, ...], Field(max_length=255)]

    def members(self) -> dict[str, str]:
        """The images that belong to the view, and the mode of each (Pillow's)."""
        found = {self.file_path: "RGBA", self.layers_file_path: "L"}
        found |= {self.interior_file_path: "L"} if self.interior_file_path else {}
        for layer in (self, *self.hidden):
            found |= {layer.depth_file_path: "I;16"}
            found |= dict.fromkeys((layer.albedo_file_path, layer.normal_file_path), "RGB")
        return found

    def names(self) -> Iterator[str]:
        """Every name of an image as it stands there."""
        yield from (self.file_path, self.layers_file_path)
        yield from filter(None, [self.interior_file_path])
        for layer in (self, *self.hidden):
            yield from (layer.depth_file_path, layer.albedo_file_path, layer.normal_file_path)


class Transforms(_Json):
    """transforms.json."""

    w: Annotated[int, Field(gt=0, le=LARGEST_IMAGE)]
    h: Annotated[int, Field(gt=0, le=LARGEST_IMAGE)]
    frames: Annotated[tuple[Frame, ...], Field(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _square(self) -> Transforms:
        if self.w != self.h:
            raise ValueError(f"images of {self.w} x {self.h} pixels; they must be square")
        return self


class Meta(_Json):
    """meta.json. What it says beyond these fields is for people, and not checked."""

    model_config = ConfigDict(extra="allow")

    schema_version: Annotated[int, AfterValidator(_schema)]
    uid: Annotated[str, Field(min_length=1, max_length=200)]
    source: Annotated[str, Field(max_length=4096)]
    source_sha256: Annotated[str, Field(max_length=64)]
    format: Annotated[str, Field(max_length=32)]
    caption: str | None = None
    category: str | None = None
    license: str | None = None
    split: str | None = None
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    center: Annotated[list[Single], Field(min_length=3, max_length=3)]
    scale: Annotated[Single, Field(gt=0)]
    config_hash: str | None = None
    companions_sha256: str | None = None


def member_problem(archive: zipfile.ZipFile, size: int) -> str | None:
    """Why an archive of `size` bytes is no bundle: its members are stored, few, small and known by name."""
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        return f"it has {len(infos)} members"
    names = {info.filename for info in infos}
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            return f"member {info.filename[:80]!r} is compressed"
        if info.filename not in (TRANSFORMS, META, MESH) and not _MEMBER.fullmatch(info.filename):
            return f"member {info.filename[:80]!r} does not belong in it"
    if len(names) != len(infos):
        return "a member is in it twice"
    if sum(info.file_size for info in infos) > size:
        return "its members overlap"
    for name in (TRANSFORMS, META):
        if name in names and archive.getinfo(name).file_size > LARGEST_JSON:
            return f"{name} is larger than {LARGEST_JSON >> 20} MiB"
    return next((f"{name} is missing" for name in (TRANSFORMS, META, MESH) if name not in names), None)


def unnamed_member(archive: zipfile.ZipFile, transforms: Transforms) -> str | None:
    """Why the images of an archive are not those that its frames name, each once."""
    named = [name for frame in transforms.frames for name in frame.names()]
    there = {info.filename for info in archive.infolist()} - {TRANSFORMS, META, MESH}
    if len(set(named)) != len(named):
        return "two views name the same image"
    missing, extra = sorted(set(named) - there), sorted(there - set(named))
    if missing:
        return f"{missing[0]} is missing"
    return f"no view names member {extra[0]}" if extra else None


def mesh_problem(archive: zipfile.ZipFile) -> str | None:
    """Why an archive of arrays is not a mesh's, judged before anything is decompressed."""
    infos = {info.filename: info for info in archive.infolist()}
    if sorted(infos) != ["faces.npy", "vertices.npy"] or len(archive.infolist()) != 2:
        return "it does not hold vertices and faces alone"
    for name, info in infos.items():
        if info.file_size > max(_SMALL, _INFLATION * info.compress_size):
            return f"{name} would become {info.file_size} bytes from {info.compress_size}"
    return None


def mesh_array_problem(vertices: Any, faces: Any) -> str | None:
    """Why arrays are not (V, 3) float32 finite vertices and (F, 3) int32 faces of them."""
    if vertices.dtype != np.float32 or vertices.ndim != 2 or vertices.shape[1] != 3:
        return f"vertices are {vertices.dtype} {vertices.shape}, not float32 (V, 3)"
    if faces.dtype != np.int32 or faces.ndim != 2 or faces.shape[1] != 3:
        return f"faces are {faces.dtype} {faces.shape}, not int32 (F, 3)"
    if not np.isfinite(vertices).all():
        return "a vertex is NaN or infinite"
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        return "a face names a vertex that is not there"
    return None
