"""Pictures in files, named by a person: some, or folders of them, with their cameras if these are known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from render.failures import UserError
from training.conditioning.pose_file import pose_of, read_poses
from training.conditioning.shown import View

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def read_views(paths: Sequence[Path], cameras: Path | None) -> list[tuple[Path, View]]:
    """All pictures of files and folders, with the cameras of a transforms.json, if one is given.

    UserError for a picture that cannot be read or has no camera in the file.
    """
    poses = read_poses(cameras) if cameras else {}
    return [
        (file, View(read_image(file), pose_of(file, poses, cameras) if cameras else None))
        for path in paths
        for file in image_files(path)
    ]


def image_files(path: Path) -> list[Path]:
    """An image file, or a folder's images by name. UserError if the folder has none."""
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
    if not found:
        raise UserError(f"{path}: no images in this folder ({', '.join(sorted(IMAGES))}).")
    return found


def read_image(path: Path) -> bytes:
    """An image file's bytes. UserError if it cannot be decoded."""
    if not path.is_file():
        raise UserError(f"{path}: no such image.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: too many pixels ({error}). Give a smaller image.") from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise UserError(f"{path}: not a readable image ({error}). Give a PNG or a JPEG.") from error
    return path.read_bytes()
