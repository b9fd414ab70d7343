"""Train a point-cloud generator on a dataset folder's shards.

    train(TrainConfig(steps=3000), Path("DATASET"), run="tiny")   # or: insideout train DATASET --run tiny

It writes DATASET/checkpoints/tiny/: config.json, loss.jsonl, validation.jsonl, samples/, tensorboard/ and the
checkpoints. Started again, it continues from the newest checkpoint, with the same losses as if it had never
stopped: the noise follows from (seed, step, sample), the data from the loader's saved position. Ctrl-C,
SIGTERM and a file named `stop` in the run's folder finish the step and save. Several processes in a
`torch.distributed` group train one model with the same batches, noise and losses as one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch

from fuse.dataset.layout import open_dataset
from render.failures import UserError
from training import checkpoints
from training.config import TrainConfig
from training.data.loader import CloudLoader
from training.distributed import World, joined
from training.journal import Journal
from training.learner import Learner, arithmetic, pick_device
from training.runs import STOP, locked, run_folder, stop_signal
from training.validation import Validation, open_loader


def train(
    config: TrainConfig,
    dataset: Path,
    run: str,
    resume: bool = True,
    report: Callable[[str], None] = print,
    runs: Path | None = None,
    lock: bool = True,
) -> Path:
    """Train to `config.steps` and return the last checkpoint. `report` takes the progress lines.

    `dataset` may lie in an object store if `runs`, the folder of all runs, does not; None: its checkpoints/.
    Under torchrun, the processes form a group. `lock` False: the caller has locked the run.

    Raises UserError where another process trains the run, ShardError where the data cannot be read,
    CheckpointError where the run cannot be resumed, or exists and `resume` is off, WeightsError where
    `init_from` does not fit, Diverged where the loss is NaN or infinite, and KeyboardInterrupt, after saving,
    when stopped.
    """
    clouds, folder = open_dataset(dataset).clouds, run_folder(dataset, run, runs)
    with joined(config.device != "cpu" and torch.cuda.is_available()):
        world = World.current()
        with owned(folder, world) if lock else ExitStack():
            return _train(config, clouds, folder, world, resume, report)


def _train(
    config: TrainConfig,
    clouds: Path,
    folder: Path,
    world: World,
    resume: bool,
    report: Callable[[str], None],
) -> Path:
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    report = report if world.first else _say_nothing
    # Without a cache, the reader threads decode images.
    decode = 0 if config.cache_mib or config.encoder_cache or not config.workers else config.image_size
    loader = open_loader(config, clouds, rank=world.rank, world=world.size, decode=decode)
    learner = Learner(config, device, world)  # after the data: it may ask a hub for the encoder's weights
    journal = Journal(folder, learner, loader, world, report)
    journal.start(resume)
    if config.init_from and journal.step == 0:
        report(begin_from(learner, Path(config.init_from)))
    validation = Validation(config, learner, journal, clouds)
    report(describe(learner, loader, journal.step))
    validation.start(report)

    with stop_signal(folder / STOP) as stopped, closing(journal), closing(iter(loader)) as batches:
        ended = False
        while journal.step < config.steps and not ended:
            journal.advance(learner.learn(next(batches), journal.step))
            validation.look(journal.step)
            ended = world.any(stopped())
        path = journal.save()
        if ended and world.first:
            (folder / STOP).unlink(missing_ok=True)
    if ended and journal.step < config.steps:
        report(f"stopped at step {journal.step}; the same command continues from {path}")
        raise KeyboardInterrupt
    return path


@contextmanager
def owned(folder: Path, world: World) -> Iterator[None]:
    """Within, no other process trains the run: the first process locks it for its group."""
    with ExitStack() as stack:
        refused: UserError | None = None
        if world.first:
            try:
                stack.enter_context(locked(folder))
            except UserError as error:
                refused = error
        if world.any(refused is not None):
            raise refused or UserError(f"{folder}: another process is training this run.")
        yield


def begin_from(learner: Learner, path: Path) -> str:
    """Load the weights of an official checkpoint or of one of ours; returns the line that reports it."""
    new = checkpoints.load_weights(learner.model, path)
    learner.ema.load_state_dict(learner.model.state_dict())
    return f"weights from {path}" + (f"; it lacks {', '.join(new)}" if new else "")


def describe(learner: Learner, loader: CloudLoader, step: int) -> str:
    """The line before the first step."""
    config, world = learner.config, learner.world
    size = sum(parameter.numel() for parameter in learner.model.parameters()) / 1e6
    kind = str(arithmetic(config.precision, learner.device) or torch.float32).removeprefix("torch.")
    start = f"resuming at step {step}" if step else "starting"
    where = f"{learner.device}" + (f" x {world.size}" if world.size > 1 else "")
    plan = f"{config.steps} steps of {config.batch}"
    return f"{start}: {size:.2f} M parameters on {where} in {kind}, {loader.rows} clouds, {plan}"


def _say_nothing(line: str) -> None:
    pass
