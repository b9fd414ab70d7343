"""`insideout layers a.png b.png --cameras T --checkpoint C --to c.ply`: surfaces along the rays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.terminal import show
from training.segmentation.settings import LayerSettings


@dataclass(frozen=True)
class Command(LayerSettings):
    """Predict the surfaces along the rays of an object's pictures, and write them as one cloud."""

    image: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGE ...")]]
    """Pictures of one object, or a folder of them; the object is what their alpha shows."""


def run(command: Command) -> int:
    """Predict, and print the file that was written."""
    from training.segmentation.layer_cloud import predict_layers

    show(f"layers: {predict_layers(command)}")
    return 0
