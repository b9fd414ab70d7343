"""R-precision with a small CLIP of random weights: as the library's own logits have it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fuse.preview.picture import draw_cloud
from render.failures import UserError
from tests.helpers.tiny_clip import write_tiny_clip  # pyright: ignore[reportMissingImports]
from training.conditioning.encoder_clip import CLIP_MEAN, CLIP_STD, normalized
from training.scores.clouds import Cloud
from training.scores.report import score
from training.scores.retrieval import SIDES, Retrieval, read_captions
from training.settings import Scoring

transformers = pytest.importorskip("transformers", reason="pip install insideout3d[clip]")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def some_clouds() -> list[Cloud]:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(4, 80, 3)) * rng.uniform(0.1, 1, (4, 1, 3))
    colors = np.repeat(rng.integers(0, 256, (4, 1, 3)), 80, axis=1).astype(np.uint8)
    return [Cloud(f"{i}", xyz, None, rgb) for i, (xyz, rgb) in enumerate(zip(shapes, colors, strict=True))]


def test_each_picture_finds_the_text_of_the_largest_logit(clip: Path):
    texts = ["chair", "table", "a", "chair"]
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    words = transformers.CLIPTokenizer.from_pretrained(clip)(
        texts, padding=True, truncation=True, max_length=12, return_tensors="pt"
    )
    wanted = []
    for cloud, own in zip(some_clouds(), texts, strict=True):
        assert cloud.rgb is not None
        sides = [draw_cloud(cloud.xyz, cloud.rgb, 56, direction=(x, y, 0.55)) for x, y in SIDES]
        pixels = np.stack([np.asarray(side.convert("RGB")) for side in sides])
        pictures = normalized(pixels, CLIP_MEAN, CLIP_STD, torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            logits = model(**words, pixel_values=pictures).logits_per_image
        wanted.append(np.mean([texts[int(i)] == own for i in logits.argmax(1)]))
    assert Retrieval(texts, str(clip)).precision(some_clouds()).tolist() == wanted
    assert max(wanted) > 0, "some picture finds its text: else this proves little"


def test_the_report_has_it_where_every_object_has_a_caption(clip: Path):
    clouds, how = some_clouds(), Scoring(clip=str(clip), sets=False, score_points=40)
    found = score(clouds, clouds, how, {"0": "chair", "1": "table", "2": "a", "3": "chair"})
    result = found["CLIP R-precision"]
    assert result.value == result.floor and result.objects and len(result.objects) == 4
    with pytest.raises(UserError, match="a caption for every object; 1 has none"):
        score(clouds, clouds, how, {"0": "chair"})


def test_captions_are_read_or_refused_by_name(tmp_path: Path):
    file = tmp_path / "captions.json"
    file.write_text(json.dumps({"chair": "a chair"}))
    assert read_captions(file) == {"chair": "a chair"}
    for text in ("[1]", '{"a": 1}', "{", "[" * 100_000):
        file.write_text(text)
        with pytest.raises(UserError, match=r"captions\.json: not"):
            read_captions(file)
