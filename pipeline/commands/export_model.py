"""`insideout export-model RUN --to DIR`: a checkpoint for others: safetensors, configuration, model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import DisallowNone, Positional, arg

from pipeline.terminal import show


@dataclass(frozen=True)
class Command:
    """Write a model for others, without pickle: model.safetensors, config.json and a card, README.md.

    `generate` and `evaluate` take the folder as --checkpoint.
    """

    run: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run's folder, of which the newest checkpoint is exported, or a checkpoint, such as RUN/best.pt."""
    to: Path
    """The folder to write; it must be new or empty."""
    license: DisallowNone[str | None] = None
    """The license under which you share the model, as the Hub spells it: mit, cc-by-4.0, ..."""


def run(command: Command) -> int:
    """Export, and print where to."""
    from pipeline.output.model_card import export_model

    show(f"export-model: {export_model(command.run, command.to, command.license)}")
    return 0
