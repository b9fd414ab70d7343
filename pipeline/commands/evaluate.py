"""`insideout evaluate DATASET --checkpoint C`: how close are generated clouds to the true ones?"""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.arguments import Dataset
from pipeline.terminal import show
from training.settings import EvaluateSettings


@dataclass(frozen=True)
class Command(EvaluateSettings):
    """Compare generated clouds with the true clouds of a dataset's objects."""

    dataset: Positional[Dataset]
    """The dataset folder."""


def run(command: Command) -> int:
    """Evaluate, and print a table."""
    from training.evaluate import evaluate

    show(*evaluate(command).summary().splitlines())
    return 0
