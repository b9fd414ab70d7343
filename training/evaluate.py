"""Does a drawn cloud resemble its object? Draw one for an image of each of some objects and compare.

    print(evaluate(Path("OUT/checkpoints/tiny"), Path("OUT")).summary())

The Chamfer distance of every drawn cloud to every object's true cloud: a model that has learnt its data comes
nearest to its own object, and much nearer than to the others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fuse.manifest import read_manifest
from fuse.picture import draw_cloud
from fuse.shard import Shard, ShardError, image_column
from training.config import TrainConfig
from training.diffusion import from_network, to_network
from training.encoder import load_pixels
from training.generate import Generator
from training.metrics import chamfer_matrix


@dataclass(frozen=True)
class Evaluation:
    """The figures of an evaluation; distances in the normalised frame, whose longest side is 2."""

    objects: int
    nearest: int
    """Drawn clouds whose nearest true cloud is their own object's."""
    nearest_colored: int
    """The same with six coordinates a point, xyz and colour in [-1, 1]: for objects of one shape."""
    own: float
    """Mean Chamfer distance to the own object's cloud."""
    other: float
    """Mean Chamfer distance to the other objects' clouds."""
    ratio: float
    """own / other."""
    own_color: float
    """Mean distance, levels of 255, between a drawn point's colour and that of the nearest true point."""
    uids: list[str]
    distances: list[list[float]]
    """Of cloud i, drawn for object i, to object j."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """One line an object, worst last, and the figures."""
        matrix = np.array(self.distances)
        lines = [f"{'own':>7} {'others':>7} {'nearest':>7}  object, or the one that it was taken for"]
        for i in np.argsort(matrix.diagonal()):
            rest = np.delete(matrix[i], i)
            found = int(matrix[i].argmin())
            taken = "" if found == i else f" -> {self.uids[found]}"
            lines.append(f"{matrix[i, i]:7.3f} {rest.mean():7.3f} {rest.min():7.3f}  {self.uids[i]}{taken}")
        lines.append(
            f"own object nearest for {self.nearest} of {self.objects} ({self.nearest_colored} by shape and "
            f"colour); Chamfer distance to the own cloud {self.own:.3f}, to the others {self.other:.3f} "
            f"(ratio {self.ratio:.2f}); colour off by {self.own_color:.0f} of 255"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class Sample:
    """One object of the data set."""

    uid: str
    image: bytes
    cloud: np.ndarray  # (6, N) float32, the network's frame


def evaluate(
    checkpoint: Path,
    out: Path,
    count: int = 24,
    view: int = 0,
    points: int = 512,
    steps: int = 16,
    guidance: float = 3.0,
    seed: int = 0,
    device: str = "cpu",
    pictures: Path | None = None,
) -> Evaluation:
    """Draw clouds for the `view`-th image of `count` training objects and compare them with the truth.

    `pictures`, a PNG path, takes a sheet of image, drawn and true cloud of each. Raises ShardError or
    CheckpointError.
    """
    generator = Generator(checkpoint, device)
    samples = read_samples(out / "clouds", generator.config, count, view, points)
    drawn = generator.draw([sample.image for sample in samples], points, steps, guidance, seed)
    if pictures:
        draw_sheet(samples, drawn).save(pictures)
    return compare(samples, drawn)


def compare(samples: list[Sample], drawn: np.ndarray) -> Evaluation:
    """The figures for clouds (K, 6, N) drawn for K samples."""
    true = np.stack([sample.cloud for sample in samples])
    matrix = chamfer_matrix(drawn[:, :3].swapaxes(1, 2), true[:, :3].swapaxes(1, 2))
    colored = chamfer_matrix(drawn.swapaxes(1, 2), true.swapaxes(1, 2))
    own, count = matrix.diagonal().mean(), len(samples)
    other = (matrix.sum() - matrix.trace()) / max(1, count * (count - 1))
    return Evaluation(
        objects=count,
        nearest=int((matrix.argmin(1) == np.arange(count)).sum()),
        nearest_colored=int((colored.argmin(1) == np.arange(count)).sum()),
        own=float(own),
        other=float(other),
        ratio=float(own / other) if other else float("nan"),
        own_color=float(np.mean([_color_gap(a, b) for a, b in zip(drawn, true, strict=True)])),
        uids=[sample.uid for sample in samples],
        distances=matrix.tolist(),
    )


def read_samples(clouds: Path, config: TrainConfig, count: int, view: int, points: int) -> list[Sample]:
    """`count` rows of the training split, evenly spread over the shards."""
    colour = f"outside_{config.target}"
    columns = ["uid", "split", "outside_xyz", colour, image_column(view)]
    places = [
        (part.file, group, row)
        for part in read_manifest(clouds)
        for group, row in _places(clouds / part.file, config.split)
    ]
    if not places:
        raise ShardError(f"{clouds}: no rows of split {config.split!r}. Run `insideout fuse` first.")
    chosen = {places[i] for i in np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)}
    samples = []
    for file, group in sorted({(file, group) for file, group, _ in chosen}):
        with Shard(clouds / file) as shard:
            table = shard.table(group, columns)
        for row in sorted(row for f, g, row in chosen if (f, g) == (file, group)):
            samples.append(_sample(table.slice(row, 1).to_pylist()[0], colour, image_column(view), points))
    return samples


def draw_sheet(samples: list[Sample], drawn: np.ndarray, size: int = 128, columns: int = 6) -> Image.Image:
    """A sheet with, for each sample, its image above its drawn cloud above its true cloud."""
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * size, rows * 3 * size), "white")
    for i, (sample, cloud) in enumerate(zip(samples, drawn, strict=True)):
        x, y = i % columns * size, i // columns * 3 * size
        sheet.paste(Image.fromarray(load_pixels(sample.image, size)), (x, y))
        for line, points in enumerate((cloud, sample.cloud), 1):
            sheet.paste(draw_cloud(*from_network(points), size).convert("RGB"), (x, y + line * size))
    return sheet


def _places(path: Path, split: str) -> list[tuple[int, int]]:
    with Shard(path) as shard:
        return [
            (group, row)
            for group in range(shard.row_groups)
            for row, value in enumerate(shard.table(group, ["split"])["split"].to_pylist())
            if value == split
        ]


def _sample(row: dict[str, Any], colour: str, image: str, points: int) -> Sample:
    xyz = np.frombuffer(row["outside_xyz"], "<f4").reshape(-1, 3)[:points]
    rgb = np.frombuffer(row[colour], np.uint8).reshape(-1, 3)[:points]
    full = np.resize(np.arange(len(xyz)), points)  # a smaller cloud repeats its points
    return Sample(row["uid"], row[image], to_network(xyz[full], rgb[full]))


def _color_gap(drawn: np.ndarray, true: np.ndarray) -> float:
    """(6, N) clouds: the mean colour difference at the nearest true point, in levels of 255."""
    gaps = ((drawn[:3, :, None] - true[:3, None, :]) ** 2).sum(0)
    return float(np.abs(drawn[3:] - true[3:, gaps.argmin(1)]).mean() * 127.5)
