"""`insideout evaluate DATASET --checkpoint C`: how close are generated clouds to the true ones?"""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.arguments import Dataset
from pipeline.terminal import show
from training.settings import EvaluateSettings


@dataclass(frozen=True)
class Command(EvaluateSettings):
    """Compare generated clouds, or a segmenter's masks, with the true ones of a dataset's objects."""

    dataset: Positional[Dataset]
    """The dataset folder."""


def run(command: Command) -> int:
    """Evaluate, print a table, and keep the scores in the run's folder."""
    from training.evaluate import evaluate, keep
    from training.segmentation.comparison import compare_insides
    from training.segmentation.evaluation import evaluate_masks, is_segmenter

    if len(command.see_inside) > 1:
        show(*compare_insides(command).lines())
        return 0
    found = evaluate_masks(command) if is_segmenter(command.checkpoint) else evaluate(command)
    show(*found.summary().splitlines())
    try:
        kept = keep(found, command)
    except OSError as error:  # another's run, which may be read only
        show(f"not kept beside the checkpoint: {error}")
    else:
        show(*([f"kept: {kept}"] if kept else []))
    return 0
