"""Which models are found in folders and lists, under which names, and what is rejected and loses nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.inputs.discovery import default_uid, discover
from render.failures import UserError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_a_folder_is_searched_recursively_and_sorted(tmp_path: Path):
    touch(tmp_path, "b/chair.obj", "b/chair.mtl", "b/chair.png", "a/x.gltf", "a/x.bin", "Z.GLB", "a.stl")
    touch(tmp_path, ".hidden.glb", ".cache/y.glb", "readme.txt", "__MACOSX.txt")
    assert [model.source for model in discover(tmp_path).models] == [
        "Z.GLB",
        "a.stl",
        "a/x.gltf",
        "b/chair.obj",
    ]


def test_files_that_differ_by_extension_or_folder_are_different_models(tmp_path: Path):
    touch(tmp_path, "chair.obj", "chair.glb", "more/chair.glb")
    models = discover(tmp_path).models
    assert len({model.uid for model in models}) == len(models) == 3
    assert all(model.uid.startswith("chair-") and model.path.is_absolute() for model in models)


def test_uids_are_stable_short_and_safe():
    assert re.fullmatch(r"chair-01-[0-9a-f]{12}", default_uid("a/Chair 01.glb"))
    assert default_uid("a/x.glb") != default_uid("b/x.glb")
    assert default_uid("../../ß漢/…​.glb").startswith("model-")
    assert len(default_uid("n" * 300 + ".glb")) == 40 + 1 + 12


def test_one_file_is_a_folder_of_one(tmp_path: Path):
    touch(tmp_path, "a.glb", "b.glb")
    assert [model.source for model in discover(tmp_path / "a.glb").models] == ["a.glb"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_three_kinds_of_list(tmp_path: Path, kind: str):
    touch(tmp_path / "data", "m/a.glb", "b.obj")
    rows = [
        {"path": "m/a.glb", "uid": "first", "caption": 'a, "quoted" chair', "category": "", "license": "CC0"},
        {"path": "b.obj", "uid": "", "caption": "", "category": "boat", "license": ""},
    ]
    rows[0] |= {"split": "test", "weight": "0.5"}
    rows[1] |= {"split": "", "weight": ""}
    found = discover(write_list(tmp_path / "data", rows, kind))
    assert not found.rejections
    first, second = found.models
    assert (first.uid, first.source, first.path) == ("first", "m/a.glb", tmp_path / "data" / "m" / "a.glb")
    assert (first.caption, first.category, first.license) == ('a, "quoted" chair', None, "CC0")
    assert (second.uid, second.category) == (default_uid("b.obj"), "boat")
    assert [(m.split, m.weight) for m in found.models] == [("test", 0.5), (None, None)]


def test_a_row_may_name_the_collection_that_it_lies_in(tmp_path: Path):
    touch(tmp_path / "set", "chair/meshes/chair.obj")
    (tmp_path / "lists").mkdir()
    path = tmp_path / "set" / "chair" / "meshes" / "chair.obj"
    rows = [
        {"path": str(path), "root": str(tmp_path / "set")},
        {"path": "chair/meshes/chair.obj", "root": "../set"},
        {"path": str(path), "root": ""},
        {"path": str(path), "root": str(tmp_path / "lists")},
        {"path": "../../etc/x.obj", "root": str(tmp_path / "set")},
        {"path": str(path), "root": "/"},
    ]
    for number, row in enumerate(rows):
        row["uid"] = f"m{number}"
    found = discover(write_list(tmp_path / "lists", rows, "csv"))
    assert [(model.root, model.source) for model in found.models] == [
        *[(str(tmp_path / "set"), "chair/meshes/chair.obj")] * 2,
        (str(tmp_path / "lists"), str(path)),
    ]
    assert all(model.path == path for model in found.models)
    assert len(found.rejections) == 3
    assert all("is not inside its `root`" in one.message for one in found.rejections)


def test_a_split_or_weight_that_training_could_not_use_is_rejected(tmp_path: Path):
    wrong = [{"split": "val"}, {"weight": "-1"}, {"weight": "much"}, {"weight": "inf"}]
    rows = [{"path": f"{i}.glb", "split": "", "weight": "", **row} for i, row in enumerate(wrong)]
    messages = [one.message for one in discover(write_list(tmp_path, rows, "csv")).rejections]
    assert len(messages) == 4
    assert messages[0].endswith("split 'val' is none of train, validation, test.")
    assert messages[1].endswith("weight '-1' is not a number of 0 or more.")


def test_bad_rows_are_rejected_and_the_rest_goes_on(tmp_path: Path):
    rows = [
        {"path": "a.glb", "uid": "one"},
        {"path": "b.glb", "uid": "one"},
        {"path": "c.glb", "uid": "../../etc/passwd"},
        {"path": "", "uid": "nowhere"},
        {"path": "d.glb", "uid": ".hidden"},
        {"path": "e.glb", "uid": "x" * 201},
        {"path": "f.glb", "uid": "last"},
    ]
    found = discover(write_list(tmp_path, rows, "csv"))
    assert [model.uid for model in found.models] == ["one", "last"]
    assert [rejection.uid for rejection in found.rejections] == [f"row-{n:09d}" for n in (2, 3, 4, 5, 6)]
    messages = [rejection.message for rejection in found.rejections]
    assert (
        "row 1's already" in messages[0]
        and "cannot be a file name" in messages[1]
        and "no path" in messages[2]
    )


def test_numbers_as_uids_and_a_byte_order_mark(tmp_path: Path):
    table = pa.table({"path": ["a.glb"], "uid": [17]})
    parquet.write_table(table, tmp_path / "list.parquet")
    assert discover(tmp_path / "list.parquet").models[0].uid == "17"
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbfpath\r\na.glb\r\n")
    assert discover(tmp_path / "list.csv").models[0].source == "a.glb"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", b"file,uid\na.glb,1\n", "no column `path`; found: file, uid"),
        ("x.csv", b"path\n\xff\xfe\x00.glb\n", "cannot be read as CSV"),
        ("x.jsonl", b'{"path": "a.glb"}\n{"path": \n', "line 2 is not JSON"),
        ("x.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("x.parquet", b"PAR1 no", "cannot be read as PARQUET"),
        ("x.csv", b"path\n", "no model found"),
    ],
)
def test_lists_that_cannot_be_read_say_why(tmp_path: Path, name: str, content: bytes, expected: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected) as caught:
        discover(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_no_models_and_no_folder(tmp_path: Path):
    with pytest.raises(UserError, match=r"no model found.*\.glb"):
        discover(touch(tmp_path, "readme.txt"))
    with pytest.raises(UserError, match="no such folder or file"):
        discover(tmp_path / "nowhere")


def write_list(folder: Path, rows: list[dict[str, str]], kind: str) -> Path:
    path = folder / f"list.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        quoted = [",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *quoted]) + "\n")
    return path
