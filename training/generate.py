"""Generate colored clouds with a checkpoint, from images or texts.

    generate(GenerateSettings(Path("DATASET/checkpoints/tiny"), Path("chair.ply"), (Path("chair.png"),)))

writes the cloud and, beside it, chair.png: a picture of it from four sides (chair.cloud.png if the image
itself has that name). The extension is the format: .ply, .npz (Point-E's) or .glb (points); any other name is
a folder for all three. An upsampler's checkpoint adds points to the cloud.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from render.failures import UserError
from training.conditioning.cameras import NUMBERS
from training.conditioning.image_files import read_views
from training.conditioning.mask_files import read_masks
from training.conditioning.pose_file import write_poses
from training.conditioning.shown import View
from training.data.channels import hidden_of
from training.generator import Generator, Given, refine, upsampler_for, views_of
from training.output.cloud_files import FORMATS, write_points
from training.output.pictures import draw_sides
from training.output.seen import seen_by
from training.settings import GenerateSettings


def generate(settings: GenerateSettings, report: Callable[[str], None] = print) -> list[Path]:
    """Generate clouds for each image (the object is what its alpha shows), set of views or text; or from
    nothing.

    Returns the files that were written, clouds and pictures; `report` takes lines of progress. All mistakes
    are found before the first cloud is sampled. Raises CheckpointError for a bad checkpoint, UserError for a
    bad input or output name.
    """
    inputs = list(_inputs(settings.image, settings.text, settings.cameras))
    begun = settings.state is not None and settings.state.exists()
    opening = settings.opening
    base = Generator(settings.checkpoint, name=settings.name, segmenter=settings.segmenter, **opening)
    inputs = with_masks(inputs, base, settings)
    inputs = [("cloud", [])] if begun and not inputs else _objects(base, settings, _fitting(base, inputs))
    inputs = [pair for pair in inputs for _ in range(settings.count)]
    items = [item for _, item in inputs]
    points = settings.points or base.config.points
    upsampler = upsampler_for(base, points, settings.upsampler, **opening)
    targets = _targets(settings.to, [name for name, _ in inputs])
    if settings.state:
        clouds = _continued(base, settings, items[0], points)
    else:
        clouds = base.sample(items, points, settings.sampling, report=report)
    if upsampler:
        clouds = refine(upsampler, items, clouds, settings.sampling, report)
    written = []
    for cloud, target, item in zip(clouds, targets, items, strict=True):
        hidden = hidden_of(cloud)
        if settings.part == "outside" and hidden is not None:
            cloud = cloud[:6, ~hidden]
        cameras = np.zeros((0, NUMBERS)) if begun else base.cameras_of(views_of(item))
        seen = seen_by(cloud[:3].T, cameras) if len(cameras) else None
        written += [*_write(cloud, target, seen), _picture(cloud, target, settings.image)]
        written += [] if begun else _cameras(base, item, target)
        if seen is None:
            report(f"{target.name}: no camera is known, so it does not say which points were seen")
    return written


def with_masks(
    inputs: list[tuple[str, Given]], base: Generator, settings: GenerateSettings
) -> list[tuple[str, Given]]:
    """The inputs with what lies behind their views: given masks, else what the model guesses.

    UserError where masks do not fit the images or the model.
    """
    if settings.mask and not base.sees_inside:
        raise UserError(f"{base.path}: this model takes no masks. Train one with --see-inside true or mixed.")
    count = sum(len(views_of(item)) for _, item in inputs)
    if settings.mask and len(settings.mask) != count:
        raise UserError(f"{len(settings.mask)} masks for {count} images. Give one for each.")
    files = zip_longest(settings.mask, settings.mask_layers)

    def behind(view: View) -> View:
        mask, layers = next(files, (None, None))
        return replace(view, behind=base.guess if mask is None else read_masks(mask, layers, view.image))

    return [
        (name, [behind(view) for view in item] if isinstance(item, list) else item) for name, item in inputs
    ]


def _continued(base: Generator, settings: GenerateSettings, item: Given, points: int) -> np.ndarray:
    """The cloud (1, C, N) of the state's views and of further ones, which the state then holds too."""
    assert settings.state
    if base.takes != "image" or base.config.model == "upsample":
        raise UserError(f"{base.path}: this model keeps no state of images. Leave out --state.")
    session = base.begin(state=settings.state if settings.state.exists() else None)
    for view in views_of(item):
        session.show(view.image, view.camera, view.behind)
    cloud = session.draw(points, settings.sampling)
    session.save(settings.state)
    return cloud[None]


def _objects(
    base: Generator, settings: GenerateSettings, inputs: list[tuple[str, Given]]
) -> list[tuple[str, Given]]:
    """The inputs, those of an object's views as one."""
    several = settings.cameras is not None or settings.state is not None or base.config.views_most > 1
    if not settings.image or (settings.view_rule or ("together" if several else "each")) == "each":
        return inputs
    return [(inputs[0][0], [view for _, item in inputs for view in views_of(item)])]


def _cameras(base: Generator, item: Given, target: Path) -> list[Path]:
    """Write the pictures' cameras beside a cloud that stands as in its first picture, which nobody posed."""
    views = views_of(item)
    if base.config.frame == "object" or not views or views[0].camera is not None:
        return []
    path = target.with_name(f"{target.stem if target.suffix else target.name}.transforms.json")
    write_poses(path, {f"{i}.png": camera for i, camera in enumerate(base.cameras_of(views))})
    return [path]


def _fitting(base: Generator, inputs: list[tuple[str, Given]]) -> list[tuple[str, Given]]:
    """The inputs, if the model takes their kind; a name alone for an unconditional model."""
    if base.takes is None:
        return [(name, None) for name, _ in inputs] or [("cloud", None)]
    if not inputs:
        raise UserError(f"{base.path}: this model takes {base.takes}. Give one: --{base.takes}.")
    given = "text" if isinstance(inputs[0][1], str) else "image"
    if given != base.takes:
        raise UserError(
            f"{base.path}: this model takes {base.takes}, not {given}. Give that: --{base.takes}."
        )
    return inputs


def _inputs(
    images: Sequence[Path], texts: Sequence[str], cameras: Path | None
) -> Iterator[tuple[str, Given]]:
    """A name for each output, and the image or text that it is generated from."""
    if images and texts:
        raise UserError("Give images or texts, not both.")
    for file, view in read_views(images, cameras):
        yield file.stem, [view]
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


def _write(cloud: np.ndarray, target: Path, seen: np.ndarray | None) -> list[Path]:
    """Write the cloud (C, N), and (N,) bool which points were seen, in `target`'s format or in all."""
    if target.suffix.lower() in FORMATS:
        files = [target]
    else:
        files = [target.with_name(target.name + ending) for ending in FORMATS]
    for file in files:
        write_points(file, cloud, seen)
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
