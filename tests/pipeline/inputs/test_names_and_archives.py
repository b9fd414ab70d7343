"""Names on disk that are not UTF-8, models in zip archives, cells that are no text, closed folders."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.inputs.admission import admit
from pipeline.inputs.discovery import Model, default_uid, discover
from render.failures import ModelFailure
from render.references.spelling import spelled, unspelled
from tests.helpers.staging import stage

OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
GBK = os.fsdecode("椅子".encode("gbk"))


@pytest.mark.parametrize(
    "name",
    [
        GBK,
        os.fsdecode("Köln %25.obj".encode("cp1252")),
        "plain.obj",
        "100%.obj",
        "a%20b.obj",
        "a%25b.obj",
        "a%FFb.obj",
        "%25%25",
        "漢字%F6.obj",
        os.fsdecode(bytes(range(128, 256))),
        os.fsdecode(b"%F6\xf6"),
    ],
)
def test_a_spelling_is_text_and_can_be_undone(name: str):
    assert unspelled(spelled(name)) == name
    assert spelled(name).encode().decode() == spelled(name)


def test_usual_names_are_spelled_as_they_are():
    for name in ("chair.obj", "100%.obj", "a%20b.obj", "Köln/椅子.glb"):
        assert spelled(name) == name


def test_different_names_are_spelled_differently():
    names = ["\udcf6", "%F6", "%25F6", "ö", "%f6"]
    assert len({spelled(name) for name in names}) == len(names)


def test_a_name_that_is_not_utf8_is_a_model_like_others(tmp_path: Path):
    folder = tmp_path / "models" / GBK
    folder.mkdir(parents=True)
    (folder / f"{GBK}.obj").write_text(f"mtllib {GBK}.mtl\n{OBJ}", "utf-8", "surrogateescape")
    (folder / f"{GBK}.mtl").write_text(f"newmtl a\nmap_Kd {GBK}.png\n", "utf-8", "surrogateescape")
    (folder / f"{GBK}.png").write_bytes(b"png")
    (model,) = discover(tmp_path / "models").models
    assert model.source == "%D2%CE%D7%D3/%D2%CE%D7%D3.obj"
    assert model.path == folder / f"{GBK}.obj" and model.uid == default_uid(model.source)
    staged = stage(model.path, model.source, tmp_path / "in")
    for path in (tmp_path / "in").rglob("*"):
        assert str(path).encode()
    mtl = staged.path.read_text().split("\n")[0].removeprefix("mtllib ")
    image = (staged.path.parent / mtl).read_text().split("map_Kd ")[1].strip()
    assert (staged.path.parent / image).read_bytes() == b"png"


def test_a_list_may_name_it_by_its_spelling(tmp_path: Path):
    (tmp_path / f"{GBK}.obj").write_text(OBJ)
    (tmp_path / "list.csv").write_text("path\n%D2%CE%D7%D3.obj\n")
    assert discover(tmp_path / "list.csv").models[0].path == tmp_path / f"{GBK}.obj"
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": f"{GBK}.obj"}))
    (model,) = discover(tmp_path / "list.jsonl").models
    assert (model.source, model.path) == ("%D2%CE%D7%D3.obj", tmp_path / f"{GBK}.obj")


def archive(path: Path, **files: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


CHAIR = {"meshes/chair.obj": f"mtllib C:\\x\\chair.mtl\n{OBJ}", "meshes/chair.mtl": "map_Kd wood.png\n"}
CHAIR |= {"materials/textures/wood.png": "png", "__MACOSX/meshes/._chair.obj": "x", "readme.txt": "x"}


def test_an_archive_of_one_model_is_that_model(tmp_path: Path):
    archive(tmp_path / "m" / "set" / "chair.zip", **CHAIR)
    archive(tmp_path / "m" / "textures.zip", **{"wood.png": "png"})
    (model,) = discover(tmp_path / "m").models
    assert (model.source, model.path) == ("set/chair.zip", tmp_path / "m/set/chair.zip")
    assert admit(model.path, model.source) == model.path
    (tmp_path / "in").mkdir()
    staged = stage(model.path, model.source, tmp_path / "in")
    assert staged.path.name == "chair.obj" and staged.path.is_relative_to(tmp_path / "in")
    files = {path.name for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert files == {"chair.obj", "chair.mtl", "wood.png"}
    assert not staged.companions  # the archive's own hash covers them
    assert {path.name for path in tmp_path.iterdir()} == {"m", "in"}


def test_folders_may_be_written_as_on_windows(tmp_path: Path):
    names = {name.replace("/", "\\"): text for name, text in CHAIR.items()}
    archive(tmp_path / "m" / "chair.zip", **names)
    (model,) = discover(tmp_path / "m").models
    staged = stage(model.path, model.source, tmp_path / "in")
    files = {path.name for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert staged.path.name == "chair.obj" and files == {"chair.obj", "chair.mtl", "wood.png"}


def test_several_models_of_an_archive_are_several(tmp_path: Path):
    archive(tmp_path / "pack.zip", **{"a/a.obj": OBJ, "b.obj": OBJ.replace("1 0 0", "2 0 0"), "b.txt": ""})
    models = discover(tmp_path).models
    assert [model.source for model in models] == ["pack.zip/a/a.obj", "pack.zip/b.obj"]
    assert all(model.path == tmp_path / "pack.zip" for model in models)
    assert len({model.uid for model in models}) == 2
    texts = [
        stage(model.path, model.source, tmp_path / f"in-{number}").path.read_text()
        for number, model in enumerate(models)
    ]
    assert texts == [OBJ, OBJ.replace("1 0 0", "2 0 0")]
    with pytest.raises(ModelFailure, match=r"pack\.zip holds 2 models: name one, as pack\.zip/a/a\.obj"):
        stage(tmp_path / "pack.zip", "pack.zip", tmp_path / "in")


def test_a_list_may_name_a_file_in_an_archive(tmp_path: Path):
    archive(tmp_path / "pack.zip", **{"a/a.obj": OBJ, "b.obj": OBJ})
    (tmp_path / "real.zip").mkdir()
    (tmp_path / "real.zip" / "c.obj").write_text(OBJ)
    (tmp_path / "list.csv").write_text(f"path\npack.zip/b.obj\n{tmp_path}/pack.zip/a/a.obj\nreal.zip/c.obj\n")
    first, second, third = discover(tmp_path / "list.csv").models
    assert first.path == second.path == tmp_path / "pack.zip" and third.path == tmp_path / "real.zip/c.obj"
    for number, model in enumerate((first, second, third)):
        staged = stage(model.path, model.source, tmp_path / f"in-{number}")
        assert staged.path.name == Path(model.source).name


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("../../out.obj", OBJ, "outside the archive"), ("a.obj", "v 0 0 0\n" * (10 << 20), "unpack to")],
)
def test_an_archive_that_does_harm_is_refused(tmp_path: Path, name: str, content: str, reason: str):
    path = archive(tmp_path / "m" / "bad.zip", **{name: content})
    with pytest.raises(ModelFailure, match=reason) as caught:
        stage(path, "bad.zip", tmp_path / "in")
    assert caught.value.kind == "unsafe_archive"
    assert {path.name for path in tmp_path.iterdir()} == {"m"}


def test_links_in_an_archive_and_damage(tmp_path: Path):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("wood.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("a.obj", f"mtllib a.mtl\n{OBJ}")
        file.writestr("a.mtl", "map_Kd wood.png\n")
    staged = stage(path, "bad.zip", tmp_path / "in")
    assert not (staged.path.parent / "wood.png").exists()
    data = bytearray(path.read_bytes())
    data[data.index(b"mtllib")] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFailure, match="damaged"):
        stage(path, "bad.zip", tmp_path / "in-2")


def test_an_archive_without_models_stays_one_file(tmp_path: Path):
    """A bundle, which fuse stages by the same function, or a damaged archive."""
    path = archive(tmp_path / "chair.zip", **{"meta.json": "{}", "mesh.npz": ""})
    assert stage(path, "chair.zip", tmp_path / "in").path.read_bytes() == path.read_bytes()
    path.write_bytes(path.read_bytes()[:50])
    assert stage(path, "chair.obj", tmp_path / "in-2").path.read_bytes() == path.read_bytes()


def rows(path: Path) -> tuple[list[Model], list[str]]:
    found = discover(path)
    return found.models, [rejection.message for rejection in found.rejections]


def test_cells_that_are_no_text(tmp_path: Path):
    lines = [
        '{"path": "a.obj", "uid": 0, "caption": NaN, "category": Infinity}',
        '{"path": "b.obj", "uid": 17.0, "caption": "\\ud83d", "license": 3}',
        '{"path": {"a": [1]}, "uid": "x"}',
        '{"path": "c.obj", "caption": ["a", "b"]}',
        '{"path": "d.obj", "uid": "\\udcff"}',
        '{"path": "e\\u0000.obj"}',
        '{"path": 7}',
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    models, messages = rows(tmp_path / "list.jsonl")
    assert [(m.uid, m.source, m.caption, m.category) for m in models[:1]] == [("0", "a.obj", None, None)]
    assert (models[1].uid, models[1].caption, models[1].license) == ("17", "?", "3")
    assert [model.source for model in models[2:]] == ["7"]
    assert [message.partition(": ")[2].split(" ")[0] for message in messages] == [
        "path",
        "caption",
        "uid",
        "a",
    ]


def test_lines_of_json_without_an_end(tmp_path: Path):
    (tmp_path / "list.jsonl").write_text('{"path": ' + "[" * 100_000)
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        discover(tmp_path / "list.jsonl")


def test_columns_of_numbers_and_bytes(tmp_path: Path):
    table = pa.table(
        {
            "path": pa.array([b"\xd2\xce.obj", b"b.obj"], pa.binary()),
            "uid": [0.0, 1.5],
            "caption": [float("nan"), 2.0],
        }
    )
    parquet.write_table(table, tmp_path / "list.parquet")
    models, _ = rows(tmp_path / "list.parquet")
    assert [(m.uid, m.source, m.caption) for m in models] == [
        ("0", "%D2%CE.obj", None),
        ("1.5", "b.obj", "2"),
    ]


def test_a_folder_that_cannot_be_read_is_named():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "open").mkdir()
        (root / "open" / "a.obj").write_text(OBJ)
        (root / "closed").mkdir(mode=0)
        root.chmod(0o755)
        user = os.geteuid()
        os.seteuid(65534 if user == 0 else user)  # root reads everything
        try:
            found = discover(root)
        finally:
            os.seteuid(user)
        (root / "closed").chmod(0o755)
    assert [model.source for model in found.models] == ["open/a.obj"]
    (rejection,) = found.rejections
    assert rejection.source == "closed" and "closed cannot be read: Permission denied" in rejection.message


def test_a_link_to_itself_is_missing(tmp_path: Path):
    (tmp_path / "loop.obj").symlink_to("loop.obj")
    with pytest.raises(FileNotFoundError, match="leads to itself"):
        admit(tmp_path / "loop.obj", "loop.obj")
    (tmp_path / "a.obj").write_text(f"mtllib loop.mtl\n{OBJ}")
    (tmp_path / "loop.mtl").symlink_to("loop.mtl")
    assert stage(tmp_path / "a.obj", "a.obj", tmp_path / "in").path.is_file()
