"""Catalogs of collections, in the form in which each is published, as lists that `render` takes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipeline.catalogs.listing import write_list
from pipeline.catalogs.sweethome3d import properties
from pipeline.inputs.discovery import Model, discover, licensed
from pipeline.output.licenses import License, parse, spdx
from render.failures import UserError

MUG = "Red_Mug_a1b2c3d4e5f"


def put(path: Path, data: str | bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def objaverse(folder: Path) -> None:
    for uid in ("aa11", "bb22", "cc33"):
        put(folder / "glbs" / "000-000" / f"{uid}.glb")
    user = {"username": "jd", "displayName": "Jane; Doe"}
    notes = {"name": "A wooden chair", "license": "by-nc-sa", "user": user, "viewerUrl": "https://x.org/aa11"}
    gone = {"name": "not downloaded", "license": "by"}
    put(
        folder / "metadata" / "000-000.json.gz",
        json.dumps({"aa11": notes, "dd44": gone, "bb22": {"license": "cc0"}}),
    )
    put(folder / "lvis-annotations.json.gz", json.dumps({"folding_chair": ["aa11"], "lamp": ["zz"]}))


def abo(folder: Path) -> None:
    put(folder / "3dmodels" / "original" / "A" / "B001.glb")
    put(
        folder / "3dmodels" / "metadata" / "3dmodels.csv.gz",
        "3dmodel_id,path\nB001,A/B001.glb\nB002,A/B002.glb\n",
    )
    names = [{"language_tag": "de_DE", "value": "Stuhl"}, {"language_tag": "en_US", "value": "Chair, oak"}]
    listing = {
        "item_id": "i",
        "3dmodel_id": "B001",
        "item_name": names,
        "product_type": [{"value": "SIDE_CHAIR"}],
    }
    put(
        folder / "listings" / "metadata" / "listings_0.json.gz",
        json.dumps(listing) + "\n" + json.dumps({"item_id": "j"}),
    )
    put(folder / "LICENSE-CC-BY-4.0.txt")


def gso(folder: Path) -> None:
    put(folder / MUG / "meshes" / "model.obj")
    text = 'name: "Red_Mug"\ndescription: "A mug.\\nSays \\"hi\\""\ncategories {\n  first: "Kitchen"\n}\n'
    put(folder / MUG / "metadata.pbtxt", text)


def sweethome3d(folder: Path) -> None:
    put(folder / "Lib" / "lib" / "stool.obj")
    text = "license=Creative Commons Attribution 3.0 United States license  Copyright \xa9 Us\n"
    text += (
        "name#1=Stool \\\n   60\\u00b0\ncategory#1=Kitchen\ncreator#1=Ann \\= Co\nmodel#1=/lib/stool.obj\n"
    )
    put(folder / "Lib" / "PluginFurnitureCatalog.properties", text.encode("latin-1"))
    put(folder / "Lib" / "PluginFurnitureCatalog_fr.properties", "name#1=Tabouret")


def listed(folder: Path, to: Path) -> dict[str, Model]:
    write_list(folder, to)
    return {model.source: model for model in discover(to).models}


def test_objaverse_has_names_lvis_categories_and_authors(tmp_path: Path):
    objaverse(tmp_path)
    found = {model.uid: model for model in listed(tmp_path, tmp_path / "models.csv").values()}
    assert set(found) == {"aa11", "bb22", "cc33"}
    chair = found["aa11"]
    assert (chair.source, chair.caption, chair.category) == (
        "glbs/000-000/aa11.glb",
        "A wooden chair",
        "folding chair",
    )
    assert parse(chair.license) == License("CC-BY-NC-SA-4.0", "Jane, Doe", "https://x.org/aa11")
    assert parse(found["bb22"].license).name == "CC0-1.0" and found["cc33"].license is None


@pytest.mark.parametrize(
    ("make", "source", "caption", "category", "license"),
    [
        (abo, "3dmodels/original/A/B001.glb", "Chair, oak", "side chair", "CC-BY-4.0; by Amazon.com"),
        (gso, f"{MUG}/meshes/model.obj", 'A mug. Says "hi"', "Kitchen", "CC-BY-4.0; by Google Research"),
        (sweethome3d, "Lib/lib/stool.obj", "Stool 60\u00b0", "Kitchen", "CC-BY-3.0-US; by Ann = Co"),
    ],
)  # fmt: skip
def test_a_collection_beside_its_list_or_elsewhere(make, source, caption, category, license, tmp_path: Path):
    folder = tmp_path / "models"
    make(folder)
    for to in (folder / "list.csv", tmp_path / "lists" / "list.csv"):
        (model,) = listed(folder, to).values()
        found = (model.source, model.caption, model.category, model.license)
        assert found == (source, caption, category, license)
        assert model.path == folder / source and model.path.exists()


def test_models_without_license_are_left_out_or_rejected_if_asked(tmp_path: Path):
    objaverse(tmp_path)
    assert write_list(tmp_path, tmp_path / "models.csv") == ("objaverse", 3, 0)
    found = licensed(discover(tmp_path / "models.csv"))
    assert [one.uid for one in found.rejections] == ["cc33"] and len(found.models) == 2
    assert write_list(tmp_path, tmp_path / "models.csv", require_license=True) == ("objaverse", 2, 1)


def test_a_folder_without_catalog_and_a_damaged_one_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="no catalog of objaverse, abo, gso, sweethome3d"):
        write_list(tmp_path, tmp_path / "x.csv")
    objaverse(tmp_path)
    (tmp_path / "metadata" / "000-000.json.gz").write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"000-000\.json\.gz: cannot be read as JSON"):
        write_list(tmp_path, tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("make", "file", "data"),
    [
        (objaverse, "metadata/000-000.json.gz", "[1]"),
        (objaverse, "metadata/000-000.json.gz", '{"aa11": 1}'),
        (objaverse, "metadata/000-000.json.gz", "[" * 100_000),
        (objaverse, "lvis-annotations.json.gz", "[1]"),
        (abo, "listings/metadata/listings_0.json.gz", "1"),
        (abo, "3dmodels/metadata/3dmodels.csv.gz", f"3dmodel_id,path\n{'x' * 200_000},A\n"),
    ],
)
def test_a_catalog_of_another_shape_is_named(make, file: str, data: str, tmp_path: Path):
    make(tmp_path)
    put(tmp_path / file, data)
    with pytest.raises(UserError, match=f"{tmp_path}.*Download it again"):
        write_list(tmp_path, tmp_path / "x.csv")


def test_a_damaged_stream_and_half_of_a_letter(tmp_path: Path):
    objaverse(tmp_path)
    path = tmp_path / "metadata" / "000-000.json.gz"
    put(path, '{"aa11": {"name": "half \\ud800"}}')
    assert "half ?" in (write_list(tmp_path, tmp_path / "x.csv"), (tmp_path / "x.csv").read_text())[1]
    path.write_bytes(path.read_bytes()[:10] + b"\xff" * 20)
    with pytest.raises(UserError, match=r"000-000\.json\.gz"):
        write_list(tmp_path, tmp_path / "x.csv")


def test_properties_as_java_reads_them():
    text = b"# no\n! no\na=1\nb : two\nc three\nd\\=e=\\u20ac\\n\nlong=one \\\n  two\ne=\nback=a\\\\\nlast=x"
    found = {"a": "1", "b": "two", "c": "three", "d=e": "\u20ac", "long": "one two", "e": ""}
    assert properties(text) == found | {"back": "a\\", "last": "x"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Creative Commons Attribution 3.0 Unported license", "CC-BY-3.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("Public domain", "CC0-1.0"),
        ("MIT", "MIT"),
    ],
)
def test_names_of_licenses(words: str, name: str):
    assert spdx(words) == name
    assert parse(str(License(name, "A; B", "https://x"))) == License(name, "A, B", "https://x")
    assert parse(None) == parse("") == License(None)
