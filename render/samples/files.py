"""Saving the sample models: one function per file format, each using Blender's own exporter.

The bytes of .glb, .gltf, .obj, .ply, .stl and .dae depend only on the model and the Blender version. The
other exporters cannot be made reproducible: .fbx and .abc contain the time and process-dependent numbers,
.usd* an arbitrary order of objects and zip dates, .blend memory addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy


def save(path: Path) -> None:
    """Write the current scene to `path` in the format of its suffix. RuntimeError if nothing was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[path.suffix](path)
    if not path.is_file() or not path.stat().st_size:
        raise RuntimeError(f"{path}: Blender's exporter wrote nothing; see its messages above")


def _glb(path: Path) -> None:
    bpy.ops.export_scene.gltf(filepath=str(path), export_format="GLB")


def _gltf(path: Path) -> None:
    bpy.ops.export_scene.gltf(
        filepath=str(path), export_format="GLTF_SEPARATE", export_texture_dir="textures"
    )


def _obj(path: Path) -> None:
    bpy.ops.wm.obj_export(filepath=str(path), path_mode="COPY", export_pbr_extensions=True)


def _ply(path: Path) -> None:
    bpy.ops.wm.ply_export(filepath=str(path), export_colors="SRGB", export_normals=True)


def _stl(path: Path) -> None:
    bpy.ops.wm.stl_export(filepath=str(path), ascii_format=False)


def _fbx(path: Path) -> None:
    bpy.ops.export_scene.fbx(
        filepath=str(path), path_mode="COPY", embed_textures=True, use_metadata=False, bake_anim=False
    )


def _usd(path: Path) -> None:
    bpy.ops.wm.usd_export(filepath=str(path), export_textures_mode="NEW", root_prim_path="")


def _dae(path: Path) -> None:
    bpy.ops.wm.collada_export(filepath=str(path), use_texture_copies=True)
    dated = re.compile(r"(<(created|modified)>)[^<]*")
    path.write_text(dated.sub(r"\g<1>2000-01-01T00:00:00", path.read_text()))


def _abc(path: Path) -> None:
    bpy.ops.wm.alembic_export(filepath=str(path), vcolors=True, start=1, end=1)


def _blend(path: Path) -> None:
    bpy.ops.file.pack_all()
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, compress=True)


WRITERS: dict[str, Callable[[Path], Any]] = {
    ".glb": _glb,
    ".gltf": _gltf,
    ".obj": _obj,
    ".ply": _ply,
    ".stl": _stl,
    ".fbx": _fbx,
    ".usdc": _usd,
    ".usda": _usd,
    ".usdz": _usd,
    ".dae": _dae,
    ".abc": _abc,
    ".blend": _blend,
}
