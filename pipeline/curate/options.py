"""How a curation measures and groups, typed: the flags of `insideout curate`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import DisallowNone

from render.failures import at_least

EncoderName = Literal["efficientnet_lite0", "clip_image", "clip_grid", "dinov2_grid"]


@dataclass(frozen=True)
class Options:
    """What it decides is up to the rules (`pipeline.curate.rules`)."""

    encoder: EncoderName = "efficientnet_lite0"
    """What the models' looks are described by. CLIP and DINOv2 group by meaning; EfficientNet needs no
    download."""
    encoder_path: DisallowNone[str | None] = None
    """The encoder's weights: a local folder or a name on the hub."""
    image_size: int = 224
    """Side of the encoder's input, pixels. CLIP takes only the one that it was trained on."""
    views: int = 4
    """Views per model that the encoder sees."""
    clusters: int = 0
    """Number of clusters; 0: as before, else by the number of models. Another number makes new clusters."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the encoder runs."""

    def __post_init__(self) -> None:
        at_least("image_size", self.image_size, 32)
        at_least("views", self.views, 1)
        at_least("clusters", self.clusters, 0)
