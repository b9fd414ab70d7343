"""The fuse stage of one model: a view bundle in, a Parquet file of one row out.

Runs in a child process of the engine; its interface is `process`, with a job and a record of `fuse.job`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fuse import heap, openness
from fuse.cloud import Cloud, concatenate
from fuse.config import FuseConfig
from fuse.dataset.shard import (
    Row,
    encode_normal,
    image_column,
    interior_column,
    layers_column,
    table_of,
    write_shard,
)
from fuse.dataset.splits import UNDECIDED
from fuse.fusion import Fused, fuse_samples, mean_footprint
from fuse.inside import Inside, Points, area_points, joined, look_inside, outside_of
from fuse.job import FuseJob, FuseRecord
from fuse.projection import project
from fuse.sampling import farthest_points, spacing
from fuse.solid.closed_shells import Shells, find_shells
from fuse.solid.points import Solid, solid_of
from render.bundle import Bundle, BundleError, Camera
from render.failures import FailureClass, ModelFailure
from render.job import Placement
from render.seeds import seed_for
from render.shading.raycaster import Raycaster
from render.stopwatch import Stopwatch

JOB = FuseJob
LARGE = 1 << 18  # faces whose sorting leaves so much freed memory that giving it back pays
GAUGES = 256  # solid points that measure the volume where none are wanted


@dataclass(frozen=True)
class _SurfacePoints:
    """What views and rays found on a model's surfaces."""

    outside: Cloud
    openness: np.ndarray  # (N,) float64, of the outside points
    hidden: Points
    quality: Row


def process(job: FuseJob, place: Placement) -> FuseRecord:
    """Fuse the bundle at `place.input` into a shard of one row at `place.output`.

    Raises ModelFailure: `fuse_error` for a damaged bundle, `empty` when no view shows a surface.
    """
    watch = Stopwatch()
    try:
        with Bundle(place.input) as bundle:
            row = fuse_bundle(bundle, job.config, job.seed, watch)
    except BundleError as error:
        raise ModelFailure(FailureClass.FUSE_ERROR, str(error)) from error
    row["uid"] = job.uid
    with watch("write"):
        write_shard(place.output, [table_of(row)], job.config_hash, {})
    return FuseRecord(
        n_outside=row["n_outside"],
        n_hidden=row["n_hidden"],
        n_solid=row["n_solid"],
        solid_method=row["solid_method"],
        dense_outside=row["quality"]["dense_outside"],
        spacing=row["quality"]["spacing"],
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )


def fuse_bundle(bundle: Bundle, config: FuseConfig, seed: int, watch: Stopwatch) -> Row:
    """The row of one bundle."""
    uid = bundle.meta["uid"]
    with watch("decode"):
        mesh = bundle.mesh()
    with watch("label"):
        even = area_points(mesh, seed_for(seed, uid, "area"))
    with watch("solid"):
        shells = find_shells(mesh)
        large = len(mesh.faces) > LARGE
        del mesh  # from here on its shells serve for it: millions of faces are in memory once
        if large:
            heap.give_back()
        solid, caster = _solid(shells, config, seed_for(seed, uid, "solid"))
        del shells
    surface = _surface(bundle, even, caster, config, watch)
    return _row(bundle, surface, solid, seed)


def _solid(shells: Shells, config: FuseConfig, seed: int) -> tuple[Solid, Raycaster]:
    """The solid of a mesh, and all its triangles for rays to meet."""
    solid, caster = solid_of(shells, config.solid_points or GAUGES, seed)
    if not config.solid_points:
        solid = replace(solid, xyz=solid.xyz[:0], method="none")
    return solid, caster or openness.caster_of(shells.mesh())


def _surface(
    bundle: Bundle, even: np.ndarray, caster: Raycaster, config: FuseConfig, watch: Stopwatch
) -> _SurfacePoints:
    """The outside and hidden points of one bundle; `even` (N, 3) float32 lie evenly on its mesh."""
    seen = _seen(bundle, config, watch)
    with watch("label"):
        inside = look_inside(bundle, even, caster, seen, config.hidden_points)
    with watch("sample"):
        dense = concatenate([seen.cloud.take(seen.sampled), inside.cracks])
        cloud, share, shade = outside_of(dense, config.points, inside.limit, caster)
        hidden = joined([inside.hidden, shade])
        hidden = hidden.take(farthest_points(hidden.xyz, config.hidden_points))
    return _SurfacePoints(cloud, share, hidden, _quality(cloud, seen, inside))


def _seen(bundle: Bundle, config: FuseConfig, watch: Stopwatch) -> Fused:
    """What the views show."""
    with watch("decode"):
        views = list(bundle.views(hidden=False))
    with watch("project"):
        samples = project(views)
    with watch("merge"):
        seen = fuse_samples(samples, mean_footprint(views), config.merge, config.points)
    if len(seen.cloud) == 0:
        message = f"none of {len(views)} views shows a surface. Is the model fully transparent?"
        raise ModelFailure(FailureClass.EMPTY, f"{bundle.path}: {message}")
    return seen


def singular_values(xyz: np.ndarray) -> np.ndarray:
    """(3,) float32, descending, of the centered (N, 3) cloud / sqrt(N): a flat object's last one is near 0.

    Nichol et al., "Point-E" (2022), section 4.1, drops models whose smallest is tiny.
    """
    centered = xyz.astype(np.float64) - xyz.mean(0, dtype=np.float64)
    variances = np.linalg.eigvalsh(centered.T @ centered / len(xyz))
    return np.sqrt(variances[::-1].clip(0)).astype(np.float32)


def _quality(cloud: Cloud, seen: Fused, inside: Inside) -> Row:
    return {
        "singular_values": singular_values(cloud.xyz).tolist(),
        "dense_outside": len(seen.cloud) + len(inside.cracks),
        "dense_hidden": len(inside.hidden),
        "dense_cracks": len(inside.cracks),
        "hidden_fraction": inside.hidden_share,
        "spacing": spacing(cloud.xyz),
        "footprint": seen.footprint,
        "mixed_dropped": seen.mixed_dropped,
        "mixed_kept": seen.mixed_kept,
    }


def _solidity(solid: Solid) -> Row:
    low, middle, high = solid.thickness
    return {
        "watertight": solid.watertight,
        "closed_share": solid.closed_share,
        "shells": solid.shells,
        "volume": solid.volume,
        "volume_fraction": solid.volume_fraction,
        "thickness_low": low,
        "thickness_median": middle,
        "thickness_high": high,
    }


def _row(bundle: Bundle, surface: _SurfacePoints, solid: Solid, seed: int) -> Row:
    cloud, hidden = surface.outside, surface.hidden
    meta = bundle.meta
    return {
        **{name: meta[name] for name in ("uid", "source", "source_sha256", "format", "scale")},
        **{name: meta.get(name) for name in ("caption", "category", "license")},
        "split": meta.get("split") or UNDECIDED,
        "center": [float(x) for x in meta["center"]],
        "n_outside": len(cloud),
        "n_hidden": len(hidden),
        "n_solid": len(solid.xyz),
        "outside_xyz": cloud.xyz,
        "outside_rgb": cloud.rgb,
        "outside_albedo": cloud.albedo,
        "outside_normal": encode_normal(cloud.normal),
        "hidden_xyz": hidden.xyz,
        "hidden_albedo": hidden.albedo,
        "hidden_normal": encode_normal(hidden.normal),
        "hidden_layer": hidden.layer,
        "solid_xyz": solid.xyz,
        "solid_method": solid.method,
        **{image_column(i): bundle.image_bytes(i) for i in range(len(bundle))},
        **_inside_columns(bundle),
        "outside_openness": openness.encode(surface.openness),
        "hidden_openness": openness.encode(hidden.openness),
        "cameras": [_camera(bundle.camera(index)) for index in range(len(bundle))],
        "quality": surface.quality | _solidity(solid),
        "cluster": None,
        "weight": 1.0 if meta.get("weight") is None else meta["weight"],
        "seed": seed,
    }


def _inside_columns(bundle: Bundle) -> Row:
    """The PNGs of what lies behind each view's first surface."""
    views = range(len(bundle))
    return {interior_column(i): bundle.interior_bytes(i) for i in views} | {
        layers_column(i): bundle.layers_bytes(i) for i in views
    }


def _camera(camera: Camera) -> Row:
    return {"camera_to_world": camera.camera_to_world.ravel().tolist(), "fov": camera.fov}
