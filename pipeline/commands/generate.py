"""`insideout generate --checkpoint C --image I.png --to cloud.ply`: an image or a text to a cloud."""

from __future__ import annotations

from pipeline.terminal import show
from training.settings import GenerateSettings as Command

__all__ = ["Command", "run"]


def run(command: Command) -> int:
    """Generate, and print the files that were written."""
    from training.generate import generate

    show(f"generate: {', '.join(map(str, generate(command, show)))}")
    return 0
