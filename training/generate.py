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
from training.encoder import Encoder
from training.sampler import denoiser, guided, heun, karras_sigmas
from training.transformer import ImageGridTransformer


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
    _, model, encoder = checkpoints.load_model(checkpoint, device)
    try:
        grid = encoder([image.read_bytes()])
    except FileNotFoundError:
        raise ValueError(f"{image}: no such image.") from None
    except OSError as error:
        raise ValueError(f"{image}: not an image that can be read. Give a PNG or a JPEG.") from error
    cloud = sample(model, grid, points, steps, guidance, seed, device)[0].numpy()
    xyz, rgb = from_network(cloud)
    picture = picture_path(out, image)
    write_ply(out, xyz, rgb)
    draw_sides(xyz, rgb).save(picture)
    return out, picture


def sample(
    model: ImageGridTransformer,
    grid: Tensor,
    points: int,
    steps: int,
    guidance: float,
    seed: int,
    device: torch.device | str = "cpu",
    churn: float = 0.0,
) -> Tensor:
    """Clouds (B, 6, points) in the network's frame, on the CPU, for image grids (B, features, cells).

    Each cloud's starting noise follows from `seed` and its place in the batch.
    """
    diffusion = Diffusion()
    low, high = float(diffusion.sigmas[0]), 120.0  # Point-E's highest level; none below the trained ones
    sigmas = karras_sigmas(steps, low, high)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(grid), model.channels, points, generator=generator).to(device) * high
    grid = grid.to(device)
    nothing = torch.zeros_like(grid)
    denoise = guided(
        denoiser(lambda x, t: model(x, t, grid), diffusion),
        denoiser(lambda x, t: model(x, t, nothing), diffusion),
        guidance,
    )
    return heun(denoise, x, sigmas, churn, generator).cpu()


def sample_images(
    model: ImageGridTransformer, encoder: Encoder, images: Sequence[bytes], points: int, steps: int,
    guidance: float, seed: int, device: torch.device | str = "cpu", batch: int = 8,
) -> np.ndarray:  # fmt: skip
    """Clouds (len(images), 6, points) float32 in the network's frame, `batch` of them at a time."""
    drawn = [
        sample(model, encoder(images[at : at + batch]), points, steps, guidance, seed + at, device)
        for at in range(0, len(images), batch)
    ]
    return torch.cat(drawn).numpy()


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
