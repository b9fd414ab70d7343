"""Verbs for whoever runs the engine: how a dataset stands, what failed, do it again, run it on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pipeline.config import EngineConfig
from pipeline.verbs import Place, parse, refuse_secrets


@dataclass(frozen=True)
class Status:
    """Show how a dataset's stages stand, from its files alone: while a run is going on, and after."""

    out: Positional[Place]
    """The dataset folder."""
    models: Place | None = None
    """Count these, not what the newest run was given."""
    watch: float | None = None
    """Show it again every so many seconds."""


@dataclass(frozen=True)
class Failures:
    """List what failed, by class: model, reason, signal, seconds, memory."""

    out: Positional[Place]
    """The dataset folder."""
    stage: Literal["render", "fuse"] = "render"
    """Whose failures."""
    kinds: Annotated[tuple[str, ...], arg(name="class")] = ()
    """Only these classes, e.g. timeout crash."""
    log: bool = False
    """The tail of each log too."""


@dataclass(frozen=True)
class Retry:
    """Do again what failed, with the dataset's own configuration; --timeout and the like may differ."""

    out: Positional[Place]
    """The dataset folder."""
    config: Path | None
    """A YAML file; of it, only the section engine counts here."""
    running: EngineConfig
    models: Place | None = None
    """What the models are rendered from; else what the last run was given."""
    stage: Literal["render", "fuse"] = "render"
    """Whose failures."""
    kinds: Annotated[tuple[str, ...], arg(name="class")] = ()
    """Only these classes, e.g. timeout out_of_memory."""


@dataclass(frozen=True)
class Submit:
    """Run a verb on a Ray cluster as a job: `insideout submit --address URL render --models M --out OUT`.

    Follows the log, and ends with the job's exit code. Ctrl-C leaves the job running. docs/cluster.md.
    """

    address: str
    """The dashboard's, http://HEAD:8265."""
    ship: bool = True
    """Ship this checkout's code; without, the cluster's own InsideOut runs."""
    wait: bool = True
    """Follow the job until it ends."""
    attach: str | None = None
    """Follow a job that was submitted before."""
    stop: str | None = None
    """Stop a job."""


def status(arguments: list[str]) -> int:
    from pipeline.ledger.status import show

    return show(**vars(parse(Status, "status", arguments)))


def failures(arguments: list[str]) -> int:
    from pipeline.ledger.failed import show

    return show(**vars(parse(Failures, "failures", arguments)))


def retry(arguments: list[str]) -> int:
    from pipeline.ledger.failed import retry as run

    command = parse(Retry, "retry", arguments)
    summary = run(command.out, command.stage, command.models, command.kinds, command.running)
    print("\n".join(summary.lines("retry")) if summary else f"retry: no failure in {command.stage}.")
    return summary.exit_code if summary else 0


def submit(arguments: list[str]) -> int:
    """Flags before the first verb are submit's own; that verb and the rest are the job's."""
    from pipeline.cli import VERBS
    from pipeline.commands.submit import submit as run

    refuse_secrets(arguments)
    at = next((index for index, word in enumerate(arguments) if word in VERBS), len(arguments))
    command = parse(Submit, "submit", arguments[:at])
    return run(command.address, arguments[at:], command.ship, command.wait, command.attach, command.stop)
