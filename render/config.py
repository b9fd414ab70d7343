"""The render stage's configuration: YAML section `render`, command-line flags and record, in one place."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RAW_SAMPLES = 16  # of color that is not denoised


class RenderConfig(BaseModel):
    """How a model becomes a view bundle. Every field changes the bundle's bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    views: int = Field(default=20, ge=1, le=1000)
    """Views per model."""
    resolution: int = Field(default=256, ge=16, le=4096)
    """Width and height of a view in pixels."""
    cameras: Literal["fibonacci", "random", "orbit"] = "fibonacci"
    """Directions: evenly spread over the sphere in a random rotation, uniformly random, or a turntable."""
    fov: float = Field(default=39.5978, gt=1, lt=150)
    """Field of view in degrees, both ways. The default is Blender's 50 mm lens, as in Point-E."""
    fov_most: float = Field(default=0, ge=0, lt=150)
    """With it, each view has a random field of view from `fov` to this, as photographs have, and the distance
    that suits it; 0: all views have `fov`."""
    border: int = Field(default=2, ge=2, le=1024)
    """Empty pixels at every edge; the bounding sphere fills the rest. The pixel filter needs two."""
    engine: Literal["cycles", "eevee", "workbench"] = "cycles"
    """Renderer of the lit color. Depth, albedo and normals do not depend on it."""
    samples: int = Field(default=0, ge=0)
    """Color samples per pixel; 0: where color is denoised, 1 to 8, as the model needs (`meta.json` says how
    many); else 16. Depth is always one sample at the pixel center."""
    denoise: Literal["off", "fast", "balanced", "high"] = "fast"
    """Quality of Open Image Denoise on lit color (Cycles only). Alpha is never denoised: rays find it."""
    lights: Literal["standard", "random", "camera"] = "standard"
    """White world with two opposite suns, four suns from random directions, or one sun behind each camera."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where Cycles renders color. `auto` uses a GPU if there is one; all else uses the CPU."""
    hidden: bool = True
    """Also keep the surfaces behind the first one: the inside."""
    layers: int = Field(default=64, ge=1, le=255)
    """Maximum number of surfaces to keep per ray."""
    surfaces: Literal["auto", "cycles"] = "auto"
    """What finds the surfaces along each ray and their base colors: `auto` is Embree, and Cycles for models
    whose materials need it; `cycles` takes five times as long."""
    slots: int = Field(default=12, ge=2, le=32)
    """Surfaces per ray that one render by Cycles records; a view with more is rendered again for the rest."""
    seed: int = 0
    """Together with the model's uid, seeds the camera rotation, random lights and sampling noise."""

    @model_validator(mode="after")
    def _ordered(self) -> RenderConfig:
        if self.fov_most and self.fov_most < self.fov:
            raise ValueError(f"fov_most {self.fov_most} must be 0 or at least fov, {self.fov}")
        return self

    @property
    def denoised(self) -> bool:
        """Whether lit color is denoised: only Cycles' is."""
        return self.denoise != "off" and self.engine == "cycles"

    @property
    def color_samples(self) -> int:
        """Color samples per pixel, unless the model decides."""
        return self.samples or RAW_SAMPLES
