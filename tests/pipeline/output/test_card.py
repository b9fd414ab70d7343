"""A dataset folder opens in others' readers: Hugging Face by its card, the rest by docs/elsewhere.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fuse.dataset.decisions import Decision, write_decisions
from fuse.dataset.layout import CONTACT_SHEET, Layout
from fuse.dataset.manifest import describe, write_manifest
from fuse.dataset.shard import decode, table_of, write_shard
from fuse.export.model import find_row
from fuse.preview.thumbs import THUMB
from pipeline.output import record
from render.failures import printable
from tests.helpers.cloud_rows import make_row
from tests.helpers.fuse_dataset import add_models
from tests.helpers.places import ROOT

UIDS = ["ball", "cube", "plate", "tower"]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/elsewhere.md").read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four models in two shards, with its card."""
    folder = tmp_path_factory.mktemp("card") / "OUT"
    add_models(folder, UIDS)
    record.describe(Layout(folder))
    return folder


def run(block: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Execute a block of the documentation on `out`; return its variables."""
    tmp_path.mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATASET").symlink_to(out)
    variables: dict[str, Any] = {}
    exec(compile(block, "docs/elsewhere.md", "exec"), variables)
    return variables


def test_the_card_says_what_the_shards_hold(out: Path):
    text = (out / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    images = [each["name"] for each in head["dataset_info"]["features"] if each.get("dtype") == "image"]
    assert images == [f"image_{i:02d}" for i in range(6)]
    assert "4 rows (4 train) in 2 shards" in text
    assert "| unknown | 4 |" in text


def test_licenses_and_authors_are_credited_and_the_picture_is_there(tmp_path: Path):
    out, rows = tmp_path / "OUT", [make_row(index, views=2, points=20) for index in range(5)]
    texts = ["CC-BY-4.0; by Ann | Co", "CC-BY-4.0; by Bob; https://x.org/b", "CC0-1.0; by Bob", "MIT", None]
    tables = [table_of(row | {"license": text}) for row, text in zip(rows, texts, strict=True)]
    path = Layout(out).shard("part-00000.parquet")
    path.parent.mkdir(parents=True)
    write_shard(path, tables, "x", {})
    write_manifest(path.parent, [describe(path)])
    write_decisions(Layout(out), [Decision("ball-000", 0, 1, None, "flat", "", 0, None)], {})
    record.describe(Layout(out))
    text = (out / "README.md").read_text()
    assert "| CC-BY-4.0 | 2 |" in text and "| unknown | 1 |" in text
    assert text.index("| Bob | 2 | CC-BY-4.0, CC0-1.0 |") < text.index("| Ann \\| Co | 1 | CC-BY-4.0 |")
    assert "decisions.parquet`: 1 flat." in text
    with Image.open(out / "contact-sheet.jpg") as sheet:
        assert sheet.width == 5 * THUMB


def test_what_models_say_of_themselves_is_only_text_in_the_card(tmp_path: Path):
    """A Markdown parser finds every hostile text whole, in cells of its own, and no markup made of it."""
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt
    hostile = ["<script>alert(1)</script>", "[a](javascript:alert(1))", "![x](https://x.org/x.png)"]
    hostile += ["a\\|b | c", "`a", "--- \n# A\nb: c", "*a*"]
    rows = [make_row(i, 1, 20) | {"license": f"{text}; by {text}"} for i, text in enumerate(hostile)]
    path = Layout(tmp_path).shard("part-00000.parquet")
    path.parent.mkdir(parents=True)
    write_shard(path, [table_of(row) for row in rows], "x", {})
    write_manifest(path.parent, [describe(path)])
    record.describe(Layout(tmp_path))
    _, head, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["license_name"] == "the-models-own"
    tokens = markdown("commonmark", {"html": True}).enable("table").parse(text)
    inline = [token.children for token in tokens if token.type == "inline"]
    cells = ["".join(one.content for one in children) for children in inline]
    assert [cells.count(printable(text)) for text in hostile] == [3] * 7  # as license, author, their license
    kinds = {one.type for children in inline for one in children} | {token.type for token in tokens}
    assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "em_open"})
    pictures = [one for children in inline for one in children if one.type == "image"]
    assert [one.attrs["src"] for one in pictures] == [CONTACT_SHEET]


def test_croissant_is_valid_and_reads_the_rows(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (extra: dev)")
    dataset = mlcroissant.Dataset(jsonld=out / "croissant.json")
    assert not dataset.metadata.issues.errors
    row = next(iter(dataset.records(record_set="models")))
    assert row["models/uid"].decode() in UIDS and row["models/n_outside"] > 0
    block = next(block for block in BLOCKS if "import mlcroissant" in block)
    assert run(block, out, tmp_path / "d", monkeypatch)["picture"].size == (48, 48)


def test_the_card_without_shards_names_no_files(tmp_path: Path):
    record.describe(Layout(tmp_path))
    text = (tmp_path / "README.md").read_text()
    assert "configs" not in yaml.safe_load(text.split("---\n")[1]) and "## Loading" not in text


def test_hugging_face_reads_the_folder(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    rows: Any = load_dataset(str(out), split="full", cache_dir=str(tmp_path / "cache"))
    assert sorted(rows["uid"]) == UIDS
    row = next(row for row in rows if row["uid"] == "cube")
    true = find_row(Layout(out), "cube")
    assert row["image_00"].mode == "RGBA" and row["image_00"].size == (48, 48)
    assert np.frombuffer(row["outside_xyz"], "<f4").tolist() == decode(true, "outside_xyz").ravel().tolist()
    assert len(row["cameras"]) == 6 and len(row["cameras"][0]["camera_to_world"]) == 16
    assert row["quality"]["dense_outside"] > 0


def test_the_documented_readers_read_it(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pandas, polars, duckdb = (
        next(block for block in BLOCKS if f"import {name}" in block)
        for name in ("pandas", "polars", "duckdb")
    )
    xyz = run(pandas, out, tmp_path / "a", monkeypatch)["xyz"]
    assert xyz.shape == (300, 3) and np.abs(xyz).max() <= 1.0001
    assert run(polars, out, tmp_path / "b", monkeypatch)["flat"]["uid"].to_list() == ["plate"]
    (counts,) = run(duckdb, out, tmp_path / "c", monkeypatch)["counts"]
    assert counts[:2] == ("glb", 4)
