"""Draw coloured clouds from a checkpoint for images.

    generate(Path("OUT/checkpoints/tiny"), Path("chair.png"), Path("chair.ply"))

writes the cloud and, beside it, chair.png: a picture of it from four sides (chair.cloud.png where the image
itself has that name).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fuse.export import write_ply
from fuse.picture import draw_cloud
from training import checkpoints
from training.diffusion import Diffusion, from_network
from training.sampler import denoiser, guided, heun, karras_sigmas


class Generator:
    """A checkpoint opened for drawing."""

    def __init__(self, checkpoint: Path, device: torch.device | str = "cpu"):
        self.config, self.model, self.encoder = checkpoints.load_model(checkpoint, device)
        self.diffusion = Diffusion(self.config.prediction)
        self.device = torch.device(device)

    def draw(
        self,
        images: Sequence[bytes],
        points: int = 1024,
        steps: int = 64,
        guidance: float = 3.0,
        seed: int = 0,
        batch: int = 8,
    ) -> np.ndarray:
        """Clouds (len(images), 6, points) float32 in the network's frame, `batch` of them at a time.

        The noise that a cloud starts from follows from `seed` and the image's place.
        """
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(images), self.model.channels, points, generator=generator)
        grids = (self.encoder(images[at : at + batch]) for at in range(0, len(images), batch))
        pairs = zip(noise.split(batch), grids, strict=True)
        return torch.cat([self._denoise(x, grid, steps, guidance) for x, grid in pairs]).numpy()

    def _denoise(self, noise: Tensor, grid: Tensor, steps: int, guidance: float) -> Tensor:
        """Unit noise (B, C, N) and image grids (B, features, cells) -> clean clouds, on the CPU."""
        grid = grid.to(self.device)
        nothing = torch.zeros_like(grid)
        denoise = guided(
            denoiser(lambda x, t: self.model(x, t, grid), self.diffusion),
            denoiser(lambda x, t: self.model(x, t, nothing), self.diffusion),
            guidance,
        )
        # Point-E's highest level; the lowest that was trained on.
        sigmas = karras_sigmas(steps, float(self.diffusion.sigmas[0]), 120.0)
        return heun(denoise, noise.to(self.device) * sigmas[0], sigmas).cpu()


def generate(
    checkpoint: Path,
    image: Path,
    out: Path,
    steps: int = 64,
    guidance: float = 3.0,
    seed: int = 0,
    points: int = 1024,
    device: str = "cpu",
) -> tuple[Path, Path]:
    """Draw the cloud of the object in `image` (PNG, JPEG...; by its alpha, else on its own background).

    `checkpoint` is a file or a run's folder, `out` the PLY to write. Returns the PLY and the picture. Raises
    CheckpointError for a bad checkpoint and ValueError for a bad image or output name.
    """
    if out.suffix.lower() != ".ply":
        raise ValueError(f"{out}: clouds are written as PLY here. Name it {out.with_suffix('.ply').name}.")
    generator = Generator(checkpoint, device)
    xyz, rgb = from_network(generator.draw([read_image(image)], points, steps, guidance, seed)[0])
    picture = picture_path(out, image)
    write_ply(out, xyz, rgb)
    draw_sides(xyz, rgb).save(picture)
    return out, picture


def read_image(path: Path) -> bytes:
    """The bytes of an image that can be decoded. ValueError where there is none."""
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image.") from None
    except OSError as error:
        raise ValueError(f"{path}: not an image that can be read ({error}). Give a PNG or a JPEG.") from error
    return path.read_bytes()


def picture_path(out: Path, image: Path) -> Path:
    """Where the picture of the cloud goes: beside it, never over the image."""
    picture = out.with_suffix(".png")
    return out.with_suffix(".cloud.png") if picture.resolve() == image.resolve() else picture


def draw_sides(xyz: np.ndarray, rgb: np.ndarray, size: int = 320) -> Image.Image:
    """A cloud from four sides, two by two."""
    sheet = Image.new("RGB", (2 * size, 2 * size), "white")
    for i, (x, y) in enumerate(((0.75, -1), (1, 0.75), (-0.75, 1), (-1, -0.75))):
        side = draw_cloud(xyz, rgb, size, direction=(x, y, 0.55)).convert("RGB")
        sheet.paste(side, (i % 2 * size, i // 2 * size))
    return sheet
