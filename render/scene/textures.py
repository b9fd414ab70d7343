"""Textures with stale paths: found beside the model, or removed and reported.

Exporters write absolute paths of the machine they ran on. A file of the same name, found by
`render.references.lookup`, replaces a missing texture. A texture that stays missing, or is too large for
memory, is unlinked, so that the material's color factor shows instead of Blender's magenta.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path, PureWindowsPath

import bpy
from PIL import Image

from render.references.closure import missing_images
from render.references.lookup import LocalTree, Search
from render.references.spelling import spelled


def relink_textures(path: Path) -> tuple[list[str], list[str]]:
    """Relink the missing textures of the model at `path`; unlink those that stay missing.

    Returns the file names of all missing images that the model references, and notes.
    """
    search = Search(LocalTree(path.parent), "")
    notes, relinked = _drop_oversized(), set()
    for image in [i for i in bpy.data.images if not _has_pixels(i)]:
        name = _file_name(image)
        found = search.find(name, anywhere=True)
        if found is not None:
            image.filepath = str(path.parent / found.path)
            image.reload()
            relinked.add(name)
            notes.append(f"texture {name}: found beside the model")
    dropped, nameless = _drop_missing()
    missing = dropped.union(set(missing_images(path)) - relinked)
    return sorted(missing or nameless), notes


def _drop_oversized() -> list[str]:
    """Remove images whose header declares more pixels than Pillow decodes (2e8). Returns notes."""
    oversized = [image for image in bpy.data.images if _is_oversized(image)]
    notes = [f"texture {_file_name(image)}: too many pixels; removed" for image in oversized]
    for image in oversized:
        bpy.data.images.remove(image)
    return notes


def _is_oversized(image: bpy.types.Image) -> bool:
    packed = image.packed_file
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            Image.open(io.BytesIO(packed.data) if packed else bpy.path.abspath(image.filepath)).close()
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):  # missing, or not a format of Pillow's: left to Blender
        return False
    return False


def _file_name(image: bpy.types.Image) -> str:
    """The file's bare name; its path may use either system's separators."""
    return spelled(PureWindowsPath(image.filepath.removeprefix("//")).name) or image.name


def _drop_missing() -> tuple[set[str], set[str]]:
    """Remove image nodes without pixels from every node tree.

    Returns the file names of their images, and the labels of nodes that have none.
    """
    missing: set[str] = set()
    nameless: set[str] = set()
    for tree in [m.node_tree for m in bpy.data.materials if m.node_tree] + list(bpy.data.node_groups):
        for node in [n for n in tree.nodes if n.type == "TEX_IMAGE"]:
            if node.image is None:
                nameless.add(node.label or node.name)
            elif not _has_pixels(node.image):
                missing.add(_file_name(node.image))
            else:
                continue
            tree.nodes.remove(node)
    return missing, nameless


def _has_pixels(image: bpy.types.Image) -> bool:
    """Whether the image's pixels are available (asking for the size loads it)."""
    return image.source in {"GENERATED", "VIEWER"} or min(image.size) > 0
