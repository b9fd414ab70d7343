"""Textures as the model means them: found beside it, decoded, or removed and reported.

Exporters write absolute paths of the machine they ran on. A file of the same name, found by
`render.references.lookup`, replaces a missing texture. A texture that stays missing, or is too large for
memory, is unlinked, so that the material's color factor shows instead of Blender's magenta. What Blender
cannot decode (GIF, PCX, PPM, AVIF), Pillow does. Tiles (`skin.<UDIM>.png`) are one image.
"""

from __future__ import annotations

import filecmp
import io
import re
import warnings
from pathlib import Path, PureWindowsPath
from typing import Any

import bpy
from PIL import Image

from render.elements import UNREADABLE, opened
from render.references.closure import missing_images
from render.references.lookup import TILE, Found, LocalTree, Search
from render.references.spelling import spelled


def relink_textures(path: Path, kind: str) -> tuple[list[str], list[str]]:
    """Relink the missing textures of the model at `path`, of format `kind`; unlink those that stay missing.

    Returns the file names of all missing images that the model references, and notes.
    """
    search = Search(LocalTree(path.parent), "")
    notes, relinked = _drop_oversized(), _tile(path)
    _decode_by_pillow()
    if kind == "fbx":
        _correct_fbx()
    if kind != "blend":  # which says itself what its alpha means
        _ignore_unused_alpha()
    for image in [i for i in bpy.data.images if not _has_pixels(i)]:
        name = _file_name(image)
        found = search.find(name, anywhere=True) or _garbled(name, path.parent)
        if found is not None:
            image.filepath = str(path.parent / found.path)
            image.reload()
            _decode_by_pillow()
            relinked.add(name)
            notes.append(f"texture {name}: found beside the model")
    dropped, nameless = _drop_missing()
    missing = dropped.union(set(missing_images(path)) - relinked)
    return sorted(missing or nameless), notes


def _garbled(name: str, folder: Path) -> Found | None:
    """The one file below `folder`, under any names, that `name` means but for what could not be decoded."""
    parts = re.split("\ufffd+", name)
    if not 1 < len(parts) < 5:
        return None
    pattern = re.compile(".+".join(map(re.escape, parts)), re.IGNORECASE)
    fitting = [path for path in LocalTree(folder).files("") if pattern.fullmatch(Path(path).name)]
    if not 0 < len(fitting) < 9:
        return None
    same = all(filecmp.cmp(folder / fitting[0], folder / path, shallow=False) for path in fitting[1:])
    return Found(fitting[0], exact=False) if same else None


def _tile(path: Path) -> set[str]:
    """Make a tiled image of each whose name has a tile's mark and that has tiles. Returns their names."""
    search = Search(LocalTree(path.parent.parent), path.parent.name)
    found = set()
    for image in bpy.data.images:
        name = _file_name(image)
        mark = TILE.search(name)
        tiles = [path.parent.parent / tile for tile in search.tiles(name)] if mark else []
        if mark and tiles and _show_tiles(image, tiles, mark.start(), len(name) - mark.end()):
            found.add(name)
    return found


def _show_tiles(image: bpy.types.Image, tiles: list[Path], before: int, after: int) -> bool:
    """Let an image be `tiles`, whose names have a number after `before` and until `after` characters.

    False where no number is a tile's.
    """
    name = tiles[0].name
    words = [tile.name[before : len(tile.name) - after] for tile in tiles]
    numbers = sorted({number for word in words if 1001 <= (number := _tile_number(word)) <= 2000})
    if not numbers:
        return False
    mark = "<UDIM>" if words[0].isdigit() else "<UVTILE>"
    image.source = "TILED"
    image.filepath = str(tiles[0].with_name(f"{name[:before]}{mark}{name[len(name) - after :]}"))
    image.tiles[0].number = numbers[0]
    for number in numbers[1:]:
        image.tiles.new(number)
    image.reload()
    return True


def _tile_number(word: str) -> int:
    """1002 of `1002` and of `u2_v1`."""
    if word.isdigit():
        return int(word)
    u, v = word.lower().removeprefix("u").split("_v")
    return 1000 + int(u) + 10 * (int(v) - 1)


def _decode_by_pillow() -> None:
    """Give images that are there, and that Blender cannot decode, the pixels that Pillow finds in them."""
    encoded = [image for image in bpy.data.images if image.source in ("FILE", "MOVIE")]
    for image in [image for image in encoded if not _has_pixels(image)]:
        buffer = io.BytesIO()
        try:
            with opened(image) as found:
                found.convert("RGBA").save(buffer, "PNG", compress_level=1)
        except UNREADABLE:
            continue
        image.source = "FILE"  # a GIF is a movie to Blender
        image.pack(data=buffer.getvalue(), data_len=buffer.tell())


def _correct_fbx() -> None:
    """Let an image be a color where one is meant, and opacity be an image's alpha, not its brightness.

    Blender's importer makes data of an image that serves as both. An image without alpha that is the color,
    too, says nothing of opacity; another one is a mask.
    """
    for tree in [material.node_tree for material in bpy.data.materials if material.node_tree]:
        for shader in [node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"]:
            color, alpha = _image_behind(shader.inputs["Base Color"]), _image_behind(shader.inputs["Alpha"])
            if color is not None and color.image.colorspace_settings.name == "Non-Color":
                color.image.colorspace_settings.name = "sRGB"
            if alpha is None or shader.inputs["Alpha"].links[0].from_socket.name != "Color":
                continue
            if _has_alpha(alpha.image):
                tree.links.new(alpha.outputs["Alpha"], shader.inputs["Alpha"])
            elif color is not None and color.image == alpha.image:
                tree.links.remove(shader.inputs["Alpha"].links[0])


def _image_behind(socket: bpy.types.NodeSocket) -> Any:
    """The image texture node, with an image, that feeds a socket; None without one."""
    node: Any = socket.links[0].from_node if socket.is_linked else None
    return node if node is not None and node.type == "TEX_IMAGE" and node.image else None


def _has_alpha(image: bpy.types.Image) -> bool:
    try:
        with opened(image) as file:
            return file.has_transparency_data
    except UNREADABLE:
        return False


def _ignore_unused_alpha() -> None:
    """Show the colors of images whose alpha no material reads: Blender would darken them by it."""
    trees = [m.node_tree for m in bpy.data.materials if m.node_tree] + list(bpy.data.node_groups)
    nodes = [node for tree in trees for node in tree.nodes if node.type == "TEX_IMAGE" and node.image]
    read = {node.image for node in nodes if node.outputs["Alpha"].is_linked}
    for image in {node.image for node in nodes} - read:
        image.alpha_mode = "CHANNEL_PACKED"


def _drop_oversized() -> list[str]:
    """Remove images whose header declares more pixels than Pillow decodes (2e8). Returns notes."""
    oversized = [image for image in bpy.data.images if _is_oversized(image)]
    notes = [f"texture {_file_name(image)}: too many pixels; removed" for image in oversized]
    for image in oversized:
        bpy.data.images.remove(image)
    return notes


def _is_oversized(image: bpy.types.Image) -> bool:
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            opened(image).close()
    except Image.DecompressionBombError:
        return True
    except UNREADABLE:  # missing, or not a format of Pillow's: left to Blender
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
