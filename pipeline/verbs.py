"""What each verb of the command line takes and does. Flags are the fields of the stages' configurations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from pydantic import ValidationError
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional
from tyro.constructors import PrimitiveConstructorSpec

from fuse.config import FuseConfig
from fuse.dataset import storage
from pipeline.config import EngineConfig, RunConfig, explain, load
from render.config import RenderConfig
from render.failures import UserError
from training.config import TrainConfig

Command = TypeVar("Command")
Place = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URI",
        instance_from_str=lambda words: storage.locate(words[0]),
        is_instance=lambda value: hasattr(value, "joinpath"),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""A path, or a place in an object store: s3://bucket/folder."""


@dataclass(frozen=True)
class Samples:
    """Make the embedded sample models with Blender: many formats and materials, with known insides."""

    folder: Positional[Path]
    """Where to put them."""


@dataclass(frozen=True)
class Render:
    """Render a view bundle of every model. Running again skips what is done."""

    models: Place
    """A folder of models, searched recursively; a CSV, JSONL or Parquet list with `path`; or one model."""
    out: Place
    """The dataset folder."""
    config: Path | None
    """A YAML file with sections render, fuse, train and engine; flags override it."""
    render: RenderConfig
    running: EngineConfig


@dataclass(frozen=True)
class Fuse:
    """Fuse the view bundles of a dataset into colored point clouds, in Parquet shards."""

    out: Place
    """The dataset folder."""
    config: Path | None
    """A YAML file with sections render, fuse, train and engine; flags override it."""
    fuse: FuseConfig
    running: EngineConfig


@dataclass(frozen=True)
class Train:
    """Train a point-cloud generator on a dataset. Running again goes on."""

    out: Place
    """The dataset folder."""
    config: Path | None
    """A YAML file with sections render, fuse, train and engine; flags override it."""
    train: TrainConfig
    run: str = "default"
    """Name of the run: checkpoints go to OUT/checkpoints/RUN."""
    checkpoints: Path | None = None
    """The folder that takes the runs; None: OUT/checkpoints. Needed where OUT is in an object store."""
    resume: bool = True
    """Go on from the run's newest checkpoint."""
    processes: int = 0
    """Train with so many processes, a GPU each where there are any, on this machine or the cluster that
    RAY_ADDRESS names; lost ones are replaced. 0: in this process."""
    failures: int = 3
    """How often lost processes are replaced."""


@dataclass(frozen=True)
class Generate:
    """Draw the colored point cloud of the object in an image, or that a text describes."""

    checkpoint: Path
    """A checkpoint, or a run's folder: its newest; with --name, OpenAI's file."""
    out: Path
    """A .ply, .npz or .glb to write, or a folder for all three; a picture goes beside each."""
    image: tuple[Path, ...] = ()
    """PNG, JPEG...; transparent, or the object on its own background; or folders of images."""
    text: tuple[str, ...] = ()
    """Descriptions, for a model that was trained on them."""
    upsampler: Path | None = None
    """A checkpoint that draws the points between those of the first."""
    name: str | None = None
    """The checkpoint is OpenAI's of this name, such as base40M; so is the upsampler."""
    points: int = 0
    """Points of the cloud; 0: as many as the model was trained with."""
    steps: int = 64
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the image or text: 1 is none beyond what was learned."""
    seed: int = 0
    """Another seed, another cloud."""
    batch: int = 8
    """Clouds at a time."""
    device: str = "cpu"
    """cpu or cuda."""


@dataclass(frozen=True)
class Evaluate:
    """Draw a cloud for an image of each of some objects; tell how far it is from all of them."""

    checkpoint: Path
    """A checkpoint, or a run's folder: its newest."""
    out: Place
    """The dataset folder that it was trained on."""
    count: int = 24
    """Objects at most."""
    view: int = 0
    """Which view's image."""
    split: str | None = None
    """The rows to take; None: those that were trained on."""
    points: int = 512
    """Points of a cloud."""
    steps: int = 16
    """Sampling steps."""
    guidance: float = 3.0
    """Weight of the image: 1 is none beyond what was learned."""
    seed: int = 0
    """Another seed, other clouds."""
    untrained: bool = False
    """Ask the same network before its first step, for comparison."""
    device: str = "cpu"
    """cpu or cuda."""
    pictures: Path | None = None
    """A PNG of image, drawn cloud and true cloud of each object."""


@dataclass(frozen=True)
class Export:
    """Write one model of a dataset for other tools."""

    out: Positional[Place]
    """The dataset folder."""
    uid: Positional[str]
    """The model's uid, or its source path."""
    to: Path
    """FILE.ply (colored points), FILE.npz (Point-E's format), FILE.png (the model cut open), or a folder
    (NeRF dataset)."""
    albedo: bool = False
    """Unlit colors in place of lit ones."""
    points: Literal["outside", "hidden", "solid", "all"] = "outside"
    """Which points a .ply or .npz gets; `all` labels them 0, 1 and 2."""


@dataclass(frozen=True)
class Sheet:
    """Draw a contact sheet of a dataset: lit view, depth, albedo and cloud of each model, side by side."""

    out: Positional[Place]
    """The dataset folder."""
    to: Path
    """The PNG to write."""
    models: tuple[str, ...] = ()
    """Uids or source paths; without any, the first ones."""
    size: int = 192
    """Pixels of a picture."""
    across: int = 2
    """Models side by side."""
    most: int = 24
    """Models at most."""


@dataclass(frozen=True)
class Verify:
    """Recompute every hash and check every row and bundle of a dataset."""

    out: Positional[Place]
    """The dataset folder."""
    bundles: bool = True
    """Check the view bundles too, not only the shards."""


@dataclass(frozen=True)
class Doctor:
    """Check that this machine can run everything; say what is wrong and how to mend it."""

    quick: bool = False
    """Leave out what takes longer than a second: Blender and Ray."""


def samples(arguments: list[str]) -> int:
    """In a process of its own: bpy is never loaded into the command line's."""
    command = parse(Samples, "samples", arguments)
    return subprocess.run([sys.executable, "-m", "render.samples", str(command.folder)]).returncode


def doctor(arguments: list[str]) -> int:
    from pipeline.commands import doctor as module

    return module.examine(quick=parse(Doctor, "doctor", arguments).quick)


def render(arguments: list[str]) -> int:
    from pipeline.stages.render import render as run

    command = parse(Render, "render", arguments)
    summary = run(command.models, command.out, command.render, command.running)
    print("\n".join(summary.lines("render")))
    return summary.exit_code


def fuse(arguments: list[str]) -> int:
    from pipeline.stages.fuse import fuse as run

    command = parse(Fuse, "fuse", arguments)
    summary = run(command.out, command.fuse, command.running)
    print("\n".join(summary.lines("fuse")))
    return summary.exit_code


def train(arguments: list[str]) -> int:
    command = parse(Train, "train", arguments)
    where = (command.train, command.out, command.run, command.resume)
    if command.processes:
        from pipeline.stages.train import train as launch

        path = launch(*where, command.processes, command.failures, runs=command.checkpoints)
    else:
        from training.train import train as run

        path = run(*where, runs=command.checkpoints)
    print(f"train: {path}")
    return 0


def generate(arguments: list[str]) -> int:
    command = parse(Generate, "generate", arguments)
    from training.generate import generate as run
    from training.settings import GenerateSettings

    fields = dict(vars(command))
    files = run(GenerateSettings(to=fields.pop("out"), **fields))
    print(f"generate: {', '.join(map(str, files))}")
    return 0


def evaluate(arguments: list[str]) -> int:
    command = parse(Evaluate, "evaluate", arguments)
    from training.evaluate import evaluate as run
    from training.settings import EvaluateSettings

    fields = dict(vars(command))
    print(run(EvaluateSettings(dataset=fields.pop("out"), **fields)).summary())
    return 0


def export(arguments: list[str]) -> int:
    from fuse.dataset.export import export as run

    command = parse(Export, "export", arguments)
    print(f"export: {run(command.out, command.uid, command.to, command.albedo, command.points)}")
    return 0


def sheet(arguments: list[str]) -> int:
    from fuse.preview.sheet import write_sheet

    command = parse(Sheet, "sheet", arguments)
    count = write_sheet(**vars(command))
    print(f"sheet: {count} models in {command.to}")
    return 0


def verify(arguments: list[str]) -> int:
    from fuse.dataset.verify import verify as run

    command = parse(Verify, "verify", arguments)
    report = run(command.out, bundles=command.bundles)
    print(report)
    return 0 if report.ok else 1


def bench(arguments: list[str]) -> int:
    from pipeline.bench.models import main

    return main(arguments) or 0


def parse(kind: type[Command], verb: str, arguments: list[str]) -> Command:
    """The verb's command from flags over --config over defaults. Wrong flags end the process with code 2."""
    refuse_secrets(arguments)
    defaults = _defaults(kind, arguments)
    wrapped: Any = OmitSubcommandPrefixes[OmitArgPrefixes[kind]]
    try:
        return tyro.cli(wrapped, prog=f"insideout {verb}", args=arguments, default=defaults)
    except ValidationError as error:
        raise UserError(explain(error, RunConfig)) from error


def refuse_secrets(arguments: list[str]) -> None:
    """StorageError if a URI among them carries credentials: before anything repeats or stores it."""
    for word in arguments:
        flag, _, value = word.partition("=")
        storage.check(value if flag.startswith("--") else word)


def _defaults(kind: type[Command], arguments: list[str]) -> Any:
    """What a command starts from: the sections of the file that --config names, or of none."""
    path = _config_argument(arguments)
    run = load(path) if path else RunConfig()
    sections = {
        "render": run.render,
        "fuse": run.fuse,
        "train": run.train,
        "running": run.engine,
        "config": path,
    }
    fields = {name: sections.get(name, field.default) for name, field in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]

    return kind(**{name: tyro.MISSING if value is MISSING else value for name, value in fields.items()})


def _config_argument(arguments: list[str]) -> Path | None:
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=False):
        if flag == "--config":
            return Path(value)
        if flag.startswith("--config="):
            return Path(flag.removeprefix("--config="))
    return None
