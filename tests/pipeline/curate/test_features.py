"""What models look like, by each of the trainer's encoders: small ones of the real classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.curate.features import encoder_of, features
from pipeline.curate.options import EncoderName, Options
from tests.helpers.cloud_rows import make_row
from tests.helpers.tiny_clip import transformers, write_tiny_clip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per kind of encoder."""
    folder = tmp_path_factory.mktemp("encoders")
    write_tiny_clip(folder / "clip")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes, patch_size=14)).save_pretrained(
        folder / "dinov2"
    )
    return folder


@pytest.mark.parametrize(("name", "width"), [("clip_image", 24), ("clip_grid", 32), ("dinov2_grid", 32)])
def test_a_models_feature_is_the_mean_of_its_views(weights: Path, name: EncoderName, width: int):
    path = str(weights / name.partition("_")[0])
    encoder = encoder_of(Options(encoder=name, encoder_path=path, image_size=56))
    rows = [make_row(index, 3, 20) for index in range(2)]
    models = [[rows[0]["image_00"]], [rows[1][f"image_{view:02d}"] for view in range(3)]]
    found = features(models, encoder)
    assert found.shape == (2, width) and found.dtype == np.float16
    tokens = encoder(models[1]).numpy()  # (3, width), or (3, width, cells)
    mean = tokens.reshape(3, width, -1).mean((0, 2))
    assert np.allclose(found[1], mean / np.linalg.norm(mean), atol=2e-3)
