"""Generate colored clouds with a checkpoint, from images or texts.

    generate(GenerateSettings(Path("DATASET/checkpoints/tiny"), Path("chair.ply"), (Path("chair.png"),)))

writes the cloud and, beside it, chair.png: a picture of it from four sides (chair.cloud.png if the image
itself has that name). The extension is the format: .ply, .npz (Point-E's) or .glb (points); any other name is
a folder for all three. An upsampler's checkpoint adds points to the cloud.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from render.failures import UserError
from training import checkpoints
from training.config import TrainConfig
from training.networks import point_e
from training.objectives.sampler import sample
from training.output.cloud_files import FORMATS, write_points
from training.output.pictures import draw_sides
from training.settings import GenerateSettings, Sampling

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class Generator:
    """A checkpoint loaded for sampling: one of ours, or an official file and the model's published name."""

    def __init__(self, checkpoint: Path, device: torch.device | str = "cpu", name: str | None = None):
        self.device = torch.device(device)
        if name is None:
            self.config, self.model, self.encoder = checkpoints.load_model(checkpoint, device)
        else:
            self.config = published_config(name)
            self.encoder = checkpoints.build_encoder(self.config, device)
            self.model = checkpoints.build_model(self.config, self.encoder.features).to(self.device)
            point_e.load_weights(self.model, checkpoint)
            self.model.eval().requires_grad_(False)
        self.objective = checkpoints.build_objective(self.config)

    def sample(
        self,
        items: Sequence[bytes | str],
        points: int = 1024,
        sampling: Sampling = Sampling(),  # noqa: B008, frozen
        low_res: np.ndarray | None = None,
        report: Callable[[str], None] | None = None,
    ) -> np.ndarray:
        """Clouds (B, C, points) float32 in the network's frame, B = len(items), sampled in batches.

        `items` are images (bytes) or texts, as the encoder takes them; `low_res` (B, C, n), for an upsampler,
        the coarse clouds. A cloud's initial noise follows from the seed and its index. `report` takes
        progress lines.
        """
        generator = torch.Generator().manual_seed(sampling.seed)
        noise = torch.randn(len(items), self.model.channels, points, generator=generator)
        clouds, size = [], sampling.batch
        for at in range(0, len(items), size):
            condition = {}
            if self.config.model != "uncond":
                condition["embeddings"] = self.encoder(items[at : at + size]).to(self.device)
            if low_res is not None:
                condition["low_res"] = torch.from_numpy(low_res[at : at + size]).to(self.device)
            clouds.append(self._sample(noise[at : at + size], condition, sampling, at, len(items), report))
        return torch.cat(clouds).numpy()

    def _sample(
        self,
        noise: Tensor,
        condition: dict[str, Tensor],
        sampling: Sampling,
        at: int,
        of: int,
        report: Callable[[str], None] | None,
    ) -> Tensor:
        calls = (2 * sampling.steps - 1) * (1 if sampling.guidance == 1 or not condition else 2)
        model = self.model if report is None else _counted(self.model, calls, at, at + len(noise), of, report)
        noise = noise.to(self.device)
        return sample(self.objective, model, noise, condition, sampling.steps, sampling.guidance).cpu()


def generate(settings: GenerateSettings, report: Callable[[str], None] = print) -> list[Path]:
    """Generate a cloud for each image (the object is what its alpha shows) or for each text.

    Returns the files that were written, clouds and pictures; `report` takes lines of progress. Raises
    CheckpointError for a bad checkpoint, UserError for a bad input or output name.
    """
    inputs = list(_inputs(settings.image, settings.text))
    targets = _targets(settings.to, [name for name, _ in inputs])
    base = Generator(settings.checkpoint, settings.device, settings.name)
    items = [item for _, item in inputs]
    _check_kind(settings.checkpoint, base, items)
    clouds = base.sample(items, settings.points or base.config.points, settings.sampling, report=report)
    if settings.upsampler:
        finer = Generator(settings.upsampler, settings.device, "upsample" if settings.name else None)
        clouds = refine(finer, settings.upsampler, items, clouds, settings.sampling, report)
    written = []
    for cloud, target in zip(clouds, targets, strict=True):
        written += [*_write(cloud, target), _picture(cloud, target, settings.image)]
    return written


def published_config(name: str) -> TrainConfig:
    """The configuration of one of OpenAI's models. UserError for an unknown name."""
    if name not in point_e.PUBLISHED:
        raise UserError(f"{name!r}: unknown model. OpenAI published {', '.join(point_e.PUBLISHED)}.")
    known = point_e.PUBLISHED[name]
    return TrainConfig.model_validate(
        {
            "model": known.family,
            "width": known.shape.width,
            "layers": known.shape.layers,
            "heads": known.shape.heads,
            "points": known.points,
            "step_points": 0,
            "condition_points": 1024 if known.family == "upsample" else 0,
            "prediction": "epsilon",
            "schedule": known.schedule,
            "encoder": known.encoder if known.features else "efficientnet_lite0",
        }
    )


def refine(
    upsampler: Generator,
    path: Path,
    items: Sequence[bytes | str],
    clouds: np.ndarray,
    sampling: Sampling = Sampling(),  # noqa: B008, frozen
    report: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Coarse clouds (B, C, n) -> the same followed by the upsampler's points, (B, C, n + points).

    Raises CheckpointError where the two models do not match.
    """
    config = upsampler.config
    if config.model != "upsample":
        raise checkpoints.CheckpointError(
            f"{path}: a {config.model} model, not an upsampler. Give an upsampler, or none."
        )
    if clouds.shape[1:] != (upsampler.model.channels, config.condition_points):
        raise checkpoints.CheckpointError(
            f"{path}: this upsampler takes {config.condition_points} points of "
            f"{upsampler.model.channels} channels; the base made {clouds.shape[2]} of {clouds.shape[1]}."
        )
    finer = upsampler.sample(items, config.points, sampling, clouds, report)
    return np.concatenate([clouds, finer], axis=2)


def read_image(path: Path) -> bytes:
    """An image file's bytes. UserError if it cannot be decoded."""
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such image.") from None
    except OSError as error:
        raise UserError(f"{path}: not a readable image ({error}). Give a PNG or a JPEG.") from error
    return path.read_bytes()


def _inputs(images: Sequence[Path], texts: Sequence[str]) -> Iterator[tuple[str, bytes | str]]:
    """A name for each output, and the image or text that it is generated from."""
    if bool(images) == bool(texts):
        raise UserError("Give images or texts, one of the two.")
    for path in images:
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
        if not found:
            raise UserError(f"{path}: no images in this folder ({', '.join(sorted(IMAGES))}).")
        for file in found:
            yield file.stem, read_image(file)
    for text in texts:
        yield "-".join("".join(c if c.isalnum() else " " for c in text).split())[:60] or "text", text


def _targets(out: Path, names: list[str]) -> list[Path]:
    """A path per cloud: `out` itself if it is a file, else in the folder `out`, without extension."""
    if out.suffix.lower() in FORMATS:
        if len(names) > 1:
            raise UserError(f"{out}: {len(names)} clouds do not fit into one file. Give a folder.")
        out.parent.mkdir(parents=True, exist_ok=True)
        return [out]
    if out.suffix and not out.is_dir():
        raise UserError(f"{out}: cannot write {out.suffix}. Give a {', '.join(FORMATS)} file, or a folder.")
    out.mkdir(parents=True, exist_ok=True)
    seen: dict[str, int] = {}
    targets = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        targets.append(out / (name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return targets


def _write(cloud: np.ndarray, target: Path) -> list[Path]:
    """Write the cloud (C, N) in `target`'s format, or in all formats."""
    if target.suffix.lower() in FORMATS:
        files = [target]
    else:
        files = [target.with_name(target.name + ending) for ending in FORMATS]
    for file in files:
        write_points(file, cloud)
    return files


def _picture(cloud: np.ndarray, target: Path, images: Sequence[Path]) -> Path:
    """Write a picture of the cloud beside it, never over an input image."""
    stem = target.stem if target.suffix.lower() in FORMATS else target.name
    picture = target.with_name(f"{stem}.png")
    sources = [p for path in images for p in (path.iterdir() if path.is_dir() else [path])]
    if picture.resolve() in {path.resolve() for path in sources}:
        picture = target.with_name(f"{stem}.cloud.png")
    draw_sides(cloud).save(picture)
    return picture


def _check_kind(path: Path, generator: Generator, items: Sequence[bytes | str]) -> None:
    takes = "nothing" if generator.config.model == "uncond" else generator.encoder.takes
    given = "text" if isinstance(items[0], str) else "image"
    if takes not in (given, "nothing"):
        raise UserError(f"{path}: this model takes {takes}, not {given}.")


def _counted(
    model: Callable[..., Tensor], calls: int, first: int, last: int, of: int, report: Callable[[str], None]
) -> Callable[..., Tensor]:
    """The model, which reports its progress through `calls` every five seconds."""
    done, reported = 0, time.monotonic()

    def call(*arguments: Tensor, **condition: Tensor) -> Tensor:
        nonlocal done, reported
        done += 1
        if time.monotonic() - reported > 5:
            reported = time.monotonic()
            report(f"clouds {first + 1} to {last} of {of}: {100 * done // calls} %")
        return model(*arguments, **condition)

    return call
