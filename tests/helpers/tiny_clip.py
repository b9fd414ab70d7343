"""A whole CLIP in small: 56 pixels, 16 patches of 32 numbers, 24 in the joint space, random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="pip install insideout3d[clip]")


def write_tiny_clip(folder: Path) -> Path:
    """Both towers in one folder, as on the hub, and a tokenizer that knows a few letters and one word."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=56, patch_size=14, projection_dim=24)
    letters = [*"achirtble", *(f"{letter}</w>" for letter in "achirtble")]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, "ch", "cha", "chai", "chair</w>"]
    text = transformers.CLIPTextConfig(
        **sizes, vocab_size=len(words), max_position_embeddings=12, projection_dim=24, bos_token_id=0,
        eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc h\nch a\ncha i\nchai r</w>\n")
    return folder
