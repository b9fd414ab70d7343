"""An upsampler that is told what is nearest, against the published one and what must hold by construction."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from training.networks.transformer import Shape, UpsampleTransformer
from training.networks.upsampling import NearUpsampleTransformer

SHAPE = Shape(32, 2, 2, channels=7, outputs=1, seen=16)


Model = TypeVar("Model", bound=UpsampleTransformer)


def loud(model: Model) -> Model:
    """The model with a random last layer, so that it says something."""
    torch.manual_seed(0)
    nn.init.normal_(model.output_proj.weight)
    return model.eval()


def given() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x, coarse = (torch.randn(2, 7, n, generator=generator) for n in (16, 24))
    embeddings = torch.randn(2, 1, 8, 4, generator=generator)
    return x, torch.tensor([0.2, 0.9]), {"low_res": coarse, "embeddings": embeddings}


def test_published_weights_begin_as_they_were() -> None:
    plain, (x, t, shown) = loud(UpsampleTransformer(SHAPE, 8)), given()
    near = NearUpsampleTransformer(SHAPE, 8).eval()
    missing = near.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys and all(name.startswith("near.") for name in missing.missing_keys)
    torch.testing.assert_close(near(x, t, **shown), plain(x, t, **shown))


def test_coarse_points_beyond_the_tokens_are_looked_up_by_those_near_them() -> None:
    model, (x, t, shown) = loud(NearUpsampleTransformer(SHAPE, 8, coarse_tokens=8)), given()
    far = shown | {"low_res": shown["low_res"].clone()}
    far["low_res"][..., 8:] += 100
    silent = model(x, t, **shown)
    torch.testing.assert_close(model(x, t, **far), silent)
    nn.init.normal_(model.near.out.weight)
    assert (model(x, t, **shown) - silent).abs().max() > 1e-2
    assert (model(x, t, **shown) - model(x, t, **far)).abs().max() > 1e-2
