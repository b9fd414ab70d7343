"""The render stage's configuration: YAML section `render`, command-line flags and the record in one place."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RenderConfig(BaseModel):
    """How a model becomes a view bundle. Every field changes the bytes that come out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    views: int = Field(default=20, ge=1, le=1000)
    """Views a model."""
    resolution: int = Field(default=256, ge=16, le=4096)
    """Width and height of a view in pixels."""
    cameras: Literal["fibonacci", "random", "orbit"] = "fibonacci"
    """Directions: evenly spread over the sphere under a random rotation, uniformly random, or a turntable."""
    fov: float = Field(default=39.5978, gt=1, lt=150)
    """Field of view in degrees, both ways. The default is Blender's 50 mm lens, as in Point-E."""
    border: int = Field(default=2, ge=2, le=1024)
    """Pixels that stay empty at every edge; the bounding sphere fills the rest. The filter needs two."""
    engine: Literal["cycles", "eevee", "workbench"] = "cycles"
    """What renders color. Geometry (depth, albedo, normals) always comes from Cycles."""
    samples: int = Field(default=16, ge=1)
    """Color samples a pixel. Depth is one sample at the pixel center whatever this says."""
    lights: Literal["standard", "random", "camera"] = "standard"
    """White world and two opposed suns; four suns from random directions; or one sun behind each camera."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where Cycles renders color. `auto` takes a GPU when there is one; geometry always uses the CPU."""
    hidden: bool = True
    """Keep the surfaces behind the first one too: the inside."""
    layers: int = Field(default=64, ge=1, le=255)
    """Surfaces along a ray to keep, at most."""
    slots: int = Field(default=16, ge=2, le=32)
    """Surfaces along a ray that one geometry render records; where a ray has more, the view is rendered
    again for the next so many."""
    seed: int = 0
    """Seeds camera rotation, random lights and sampling noise, together with the model's uid."""
