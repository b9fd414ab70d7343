"""This checkout against an older one: CPU-seconds, bytes, memory and color quality on six models.

    git worktree add --detach ../older COMMIT && make bench ARGS="--against ../older"

Times on shared machines drift by a factor of three. So both checkouts work in alternation, each job on one
thread in a process of its own, the fastest of `repeat` runs counts, and only ratios are to be trusted.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
from PIL import Image

from render.bundle import Bundle
from render.bundle.codes import decode_depth
from render.failures import UserError
from render.pinhole import world_points

HERE = Path(__file__).resolve().parents[2]
JOB = Path(__file__).with_name("checkout_job.py")
MODELS = HERE.parent / "shared" / "models"
SIX = {
    "trivial": "kenney/3D-Platformer/block-coin.glb",
    "truck": "draco/CesiumMilkTruck/glTF/CesiumMilkTruck.gltf",
    "sedan": "sweethome3d/katorlegaz/concept-sedan-01v1/concept-sedan-01v1.obj",
    "teddy": "sweethome3d/blendswap-cc0/teddyBear/teddyBear.obj",
    "chess-board": "playcanvas/chess-board.glb",
    "heavy": "gkjohnson-demo-data/lamborghini/scene.glb",
}
OUTSIDE_ONLY = {"hidden_points": 0, "solid_points": 0}
RAW = 16  # samples of the color that the new one must not be worse than
QUALITY_VIEWS = 2
_DEADLINE = 3600  # seconds per job
Config = dict[str, Any]


@dataclass
class Comparison:
    """What was measured of one model: the older checkout first, then this one."""

    model: str
    seconds: dict[str, list[float]] = field(default_factory=dict)  # what -> CPU-seconds
    sizes: dict[str, list[int]] = field(default_factory=dict)  # what -> bytes
    peaks: dict[str, list[float]] = field(default_factory=dict)  # what -> MiB
    psnr: list[float] = field(default_factory=list)  # dB, of RAW samples and of this checkout's default
    alpha: list[float] = field(default_factory=list)  # root mean square error in levels, likewise

    def ratio(self, what: str) -> float:
        """This checkout's share of the older one's seconds or bytes."""
        before, after = (self.seconds | self.sizes)[what]  # type: ignore[misc]
        return after / before


def tables(
    older: Path,
    resolutions: tuple[int, ...],
    repeat: int,
    reference: int,
    models: dict[str, Path] | None = None,
) -> Iterator[str]:
    """A line per model as it is measured, and a summary, for each resolution.

    `reference` are the samples that color is compared with at the first resolution; 0: not at all. `models`,
    name to file, are SIX by default.
    """
    if not (older / "render" / "worker.py").exists():
        raise UserError(f"{older}: not a checkout of InsideOut; try `git worktree add ../older COMMIT`.")
    for resolution in resolutions:
        yield from _head(resolution, reference)
        found = []
        for name, path in (models or {name: MODELS / path for name, path in SIX.items()}).items():
            if not path.exists():
                yield f"{name}: skipped, {path} is absent"
                continue
            found.append(_compare(name, path, older, resolution, repeat, reference))
            yield _line(found[-1])
        reference = 0
        yield from _summary(found)


def _compare(name: str, model: Path, older: Path, resolution: int, repeat: int, reference: int) -> Comparison:
    result = Comparison(name)
    with tempfile.TemporaryDirectory(prefix="insideout-against-") as text:
        sides = ((older, Path(text, "before")), (HERE, Path(text, "after")))
        config = {"resolution": resolution, "device": "cpu"}
        for run in range(repeat):
            for side, (checkout, folder) in enumerate(sides):
                folder.mkdir(exist_ok=True)
                bundle, row = folder / "bundle.zip", folder / "row.parquet"
                for what, stage, source, target, settings in (
                    ("render", "render", model, bundle, config),
                    ("fuse", "fuse", bundle, row, {}),
                    ("outside", "fuse", bundle, folder / "outside.parquet", OUTSIDE_ONLY),
                ):
                    seconds, peak = run_job(checkout, stage, source, target, settings)
                    _keep_least(result.seconds.setdefault(what, []), side, run, sum(seconds.values()))
                    _keep_least(result.peaks.setdefault(what, []), side, run, peak)
            plain = plain_fusion(Path(text, "after", "bundle.zip"), 4096)
            _keep_least(result.seconds.setdefault("plain", []), 0, run, plain)
        for what in ("bundle.zip", "row.parquet"):
            result.sizes[what] = [(folder / what).stat().st_size for _, folder in sides]
        if reference:
            with Bundle(Path(text, "after", "bundle.zip")) as bundle:
                samples = bundle.meta["samples"]
            result.psnr, result.alpha = _quality(model, config, reference, samples, Path(text))
    return result


def _keep_least(known: list[float], side: int, run: int, seconds: float) -> None:
    if run == 0:
        known.append(seconds)
    else:
        known[side] = min(known[side], seconds)


def run_job(
    checkout: Path, stage: str, source: Path, target: Path, config: Config
) -> tuple[dict[str, float], int]:
    """CPU-seconds per step of one job of a checkout's worker, and the most memory in MiB that it took."""
    job = {"stage": stage, "input": str(source), "output": str(target), "config": config}
    done = subprocess.run(
        [sys.executable, "-P", str(JOB)],
        input=json.dumps(job | {"scratch": str(target.parent)}),
        env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{checkout}: {stage} of {source} failed: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout)
    return found["cpu_seconds"], found["peak_mib"]


def plain_fusion(path: Path, points: int) -> float:
    """CPU-seconds of what a short script would do: all views' first surfaces, thinned by Open3D."""
    start = time.process_time()
    parts, colors = [], []
    with Bundle(path) as bundle:
        for index, frame in enumerate(bundle.frames):
            code = _pixels(bundle, frame.depth_file_path)
            depth = decode_depth(code, frame.depth_near, frame.depth_far)
            hit = np.flatnonzero(code)
            parts.append(world_points(bundle.camera(index), depth, hit))
            colors.append(_pixels(bundle, frame.file_path).reshape(-1, 4)[hit, :3] / 255)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(np.concatenate(parts)))
    cloud.colors = o3d.utility.Vector3dVector(np.concatenate(colors))
    thinned = cloud.voxel_down_sample(2 / 1024)
    thinned.farthest_point_down_sample(min(points, len(thinned.points)))
    return time.process_time() - start


def _pixels(bundle: Bundle, name: str) -> np.ndarray:
    with Image.open(io.BytesIO(bundle.read(name))) as image:
        return np.array(image)


def _quality(
    model: Path, config: Config, reference: int, samples: int, folder: Path
) -> tuple[list[float], list[float]]:
    """PSNR and alpha error of RAW samples, and of the `samples` that the model was found to need.

    They are asked for, since so few views would all be the ones that are tried first, with more samples.
    """
    default = {"hidden": False, "views": QUALITY_VIEWS, "cameras": "orbit"}  # which no seed moves
    raw = default | {"denoise": "off"}
    settings = (
        raw | {"samples": reference, "seed": 1},
        raw | {"samples": RAW},
        default | {"samples": samples},
    )
    images = []
    for index, own in enumerate(settings):
        path = folder / f"quality-{index}.zip"
        run_job(HERE, "render", model, path, config | own)
        with Bundle(path) as bundle:
            views = list(bundle.views())
        images.append(np.stack([view.rgba for view in views]).astype(np.float64))
    true, *others = images
    surface = np.stack([view.depth > 0 for view in views])
    errors = [color_error(image, true, surface) for image in others]
    return [psnr for psnr, _ in errors], [alpha for _, alpha in errors]


def color_error(image: np.ndarray, true: np.ndarray, surface: np.ndarray) -> tuple[float, float]:
    """PSNR in dB of the color on the surface, and root mean square error in levels of the partial alphas.

    `image` and `true` (N, H, W, 4) float64 are sRGB levels 0..255 with straight alpha; `surface` (N, H, W)
    bool are the pixels whose center shows one.
    """
    partial = (true[..., 3] > 0) & (true[..., 3] < 255)
    error = image - true
    color = _rms(error[surface & (true[..., 3] > 0)][:, :3])
    return float(20 * np.log10(255 / max(color, 1e-9))), _rms(error[partial][:, 3])


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2))) if error.size else 0.0


# ---- text ------------------------------------------------------------------------------------------------


def _head(resolution: int, reference: int) -> Iterator[str]:
    yield f"20 views at {resolution}, one thread: CPU-seconds before -> after (ratio); color against"
    yield f"{reference} samples: {RAW} raw samples -> this checkout\n"
    yield (
        "| model | render | fuse | render, MiB | fuse, MiB | outside only / plain | bundle, row bytes "
        "| PSNR (dB) | alpha error |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"


def _line(found: Comparison) -> str:
    def both(what: str) -> str:
        before, after = found.seconds[what]
        return f"{before:.2f} -> {after:.2f} ({after / before:.2f})"

    def memory(what: str) -> str:
        before, after = found.peaks[what]
        return f"{before:.0f} -> {after:.0f} ({after / before:.2f})"

    def change(pair: list[float]) -> str:
        return f"{pair[0]:.1f} -> {pair[1]:.1f}" if pair else "-"

    sizes = ", ".join(f"{found.ratio(what):.2f}" for what in found.sizes)
    outside = found.seconds["outside"][1] / found.seconds["plain"][0]
    return (
        f"| {found.model} | {both('render')} | {both('fuse')} | {memory('render')} | {memory('fuse')} "
        f"| {outside:.2f} | {sizes} "
        f"| {change(found.psnr)} | {change(found.alpha)} |"
    )


def _summary(found: list[Comparison]) -> Iterator[str]:
    if not found:
        return
    yield "\n| | geometric mean | worst |\n|---|---|---|"
    ratios = {what: [one.ratio(what) for one in found] for what in ("render", "fuse", *found[0].sizes)}
    plain = [one.seconds["outside"][1] / one.seconds["plain"][0] for one in found]
    for what, values in (ratios | {"outside only / plain script": plain}).items():
        mean = float(np.exp(np.mean(np.log(values))))
        yield f"| {what} | {mean:.2f} | {max(values):.2f} |"
    yield ""
