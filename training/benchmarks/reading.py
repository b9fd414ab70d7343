"""The loader's clouds per second: `python -m training.benchmarks.reading [--dataset DATASET]`.

Without a dataset it writes one of 1,024 rows with 4,096 random points, which do not compress, and noisy
images, and reads it from the page cache. Clouds per CPU second are the loader's cost; the trainer waits only
while the readers (`--workers`) are behind.
"""

from __future__ import annotations

import io
import itertools
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import tyro
from PIL import Image

from fuse.dataset.layout import Layout, part_name
from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import image_column, interior_column, layers_column, schema_for, write_shard
from training.data.loader import CloudLoader
from training.data.point_mix import Mix

ROWS, VIEWS, POINTS, HIDDEN = 1024, 4, 4096, 2048


@dataclass(frozen=True)
class Bench:
    """Measure the loader."""

    dataset: Path | None = None
    """A dataset folder; None: a generated one."""
    batch: int = 64
    """Clouds per batch."""
    batches: int = 32
    """Batches to time."""
    workers: int = 0
    """Reader threads."""
    size: int = 224
    """Side of decoded images, pixels."""
    rows: int = ROWS
    """Rows of the generated dataset."""


def main(bench: Bench) -> None:
    """Print a table in Markdown."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory(prefix="insideout-reading-") as folder:
        dataset = bench.dataset or make(Path(folder), bench.rows)
        print("| clouds | clouds per second | per CPU second |\n|---|---|---|")
        recipes = {
            "outside, 1,024 points": {"images": False},
            "outside, 128 of 1,024 points": {"images": False, "step_points": 128},
            "outside + hidden by quota": {"images": False, "mix": Mix("outside+hidden", 0.25)},
            "outside + hidden by one sampling, first time": {"images": False, "mix": Mix("outside+hidden")},
            "outside and an encoded image": {},
            "outside and 4 encoded images": {"least": 4, "most": 4},
            "outside and an encoded image with masks": {"masks": True},
            f"outside and an image decoded to {bench.size} pixels": {"decode": bench.size},
        }
        for name, settings in recipes.items():
            wall, cpu = measure(bench, Layout(dataset).clouds, settings)
            print(f"| {name} | {wall:,.0f} | {cpu:,.0f} |", flush=True)


def measure(bench: Bench, clouds: Path, settings: dict[str, object]) -> tuple[float, float]:
    """Clouds per second, and per CPU second of this process."""
    if settings.get("decode"):
        bench = replace(bench, batches=max(1, bench.batches // 8))
    loader = CloudLoader(clouds, bench.batch, workers=bench.workers, **settings)  # pyright: ignore[reportArgumentType]
    batches = iter(loader)
    for _ in itertools.islice(batches, 4):  # warms the page cache and the allocator
        pass
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in itertools.islice(batches, bench.batches):
        pass
    clouds_read = bench.batch * bench.batches
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    batches.close()
    return clouds_read / wall, clouds_read / cpu


def make(dataset: Path, rows: int) -> Path:
    """Write a dataset of `rows` noisy clouds, as incompressible as real ones at worst."""
    layout, rng = Layout(dataset), np.random.default_rng(0)
    layout.clouds.mkdir(parents=True)
    path = layout.shard(part_name(0))
    write_shard(path, (_row(i, rng) for i in range(rows)), "bench", {})
    write_manifest(layout.clouds, [describe(path)])
    return dataset


def _row(index: int, rng: np.random.Generator) -> pa.Table:
    """One row; columns that the loader does not read are empty."""
    counts = {"outside": POINTS, "hidden": HIDDEN}
    values: dict[str, object] = {"uid": f"{index:06d}", "split": "train", "center": [0.0] * 3, "cameras": []}
    values["weight"] = 1.0
    for kind, count in counts.items():
        values[f"n_{kind}"] = count
        values[f"{kind}_xyz"] = rng.uniform(-1, 1, (count, 3)).astype("<f4").tobytes()
        for color in ("rgb", "albedo"):
            values[f"{kind}_{color}"] = rng.integers(0, 256, 3 * count, np.uint8).tobytes()
    for view in range(VIEWS):
        values[image_column(view)] = _picture(rng)
        values[interior_column(view)] = values[layers_column(view)] = _MASK
    schema = schema_for(VIEWS)
    empty = {name: _nothing(schema.field(name).type) for name in schema.names if name not in values}
    columns = [pa.array([({**empty, **values})[field.name]], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _nothing(kind: pa.DataType) -> object:
    """An empty value of the type."""
    if pa.types.is_struct(kind):
        return {field.name: _nothing(field.type) for field in kind}
    if pa.types.is_fixed_size_list(kind):
        return [0.0] * kind.list_size
    if pa.types.is_binary(kind):
        return b""
    if pa.types.is_boolean(kind):
        return False
    return "" if pa.types.is_string(kind) else 0


def _picture(rng: np.random.Generator) -> bytes:
    """A PNG of 256 x 256 pixels, smooth with a little noise: about 60 KB, like a textured view."""
    ramp = np.linspace(0, 200, 256)[:, None, None] * np.ones((1, 256, 4))
    noise = rng.integers(0, 12, (256, 256, 4))
    buffer = io.BytesIO()
    Image.fromarray((ramp + noise).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _mask() -> bytes:
    """A PNG of a square, about as large as a real mask."""
    image = Image.new("L", (256, 256))
    image.paste(255, (64, 64, 192, 192))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


_MASK = _mask()


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
