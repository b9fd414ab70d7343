"""Shards hold the contract's columns, come back as they went in, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuse.dataset.layout import MANIFEST, Layout
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.packing import pack_shard, packed_uids, plan_shards
from fuse.dataset.shard import (
    SCHEMA,
    SCHEMA_VERSION,
    Shard,
    ShardError,
    decode,
    decode_normal,
    encode_normal,
    image_column,
    interior_column,
    layers_column,
    read_rows,
    schema_for,
    table_of,
    write_shard,
)
from fuse.dataset.verify import row_problems
from render.bundle import Bundle
from tests.helpers.fuse_dataset import add_models, bundle_path

CONTRACT = """uid source source_sha256 format split caption category license center scale n_outside n_hidden
n_solid outside_xyz outside_rgb outside_albedo outside_normal outside_openness hidden_xyz hidden_albedo
hidden_normal hidden_layer hidden_openness solid_xyz solid_method image_00 image_01 interior_00 interior_01
layers_00 layers_01 cameras quality cluster weight seed"""


def rows_of(out: Path) -> list[dict]:
    return [row for part in read_manifest(out / "clouds") for row in read_rows(out / "clouds" / part.file)]


def test_columns_are_the_contracts() -> None:
    schema = schema_for(2)
    assert schema.names == CONTRACT.split()
    assert schema.field("outside_xyz").metadata == {b"dtype": b"<f4", b"shape": b"[-1, 3]"}
    assert schema.field("outside_normal").metadata[b"dtype"] == b"i1"
    nullable = {field.name for field in schema if field.nullable}
    assert nullable == {"caption", "category", "license", "cluster"}


def test_file_is_zstd_with_checksums_and_a_footer(whole: Path) -> None:
    part = read_manifest(whole / "clouds")[0]
    metadata = pq.ParquetFile(whole / "clouds" / part.file).metadata
    column = {metadata.row_group(0).column(i).path_in_schema: i for i in range(metadata.num_columns)}
    xyz = metadata.row_group(0).column(column["outside_xyz"])
    assert xyz.compression == "ZSTD" and "RLE_DICTIONARY" not in xyz.encodings
    assert metadata.metadata[b"insideout.schema_version"] == str(SCHEMA_VERSION).encode()
    assert metadata.metadata[b"insideout.config_hash"] == b"abc"
    assert b"insideout" in metadata.metadata[b"insideout.versions"]


def test_rows_hold_what_the_bundle_showed(whole: Path) -> None:
    rows = {row["uid"]: row for row in rows_of(whole)}
    assert set(rows) == {"cube", "plate", "tower", "ball"}
    row = rows["plate"]
    xyz, albedo = decode(row, "outside_xyz"), decode(row, "outside_albedo")
    assert xyz.shape == (row["n_outside"], 3) == (300, 3) and xyz.dtype == np.float32
    assert np.abs(xyz).max(0) == pytest.approx([1, 0.6, 0.05], abs=0.05)
    assert (albedo == (9, 200, 9)).all()
    assert (row["source"], row["category"], row["caption"], row["scale"]) == ("plate.glb", "test", None, 0.5)
    assert row["center"] == [1, 2, 3] and row["seed"] == 7 and row["solid_method"] == "winding"
    assert row["n_hidden"] == len(row["hidden_xyz"]) == 0, "its bundle has no further layers"
    solid = decode(row, "solid_xyz")
    assert row["n_solid"] == len(solid) == 4096 and (np.abs(solid) < [1.001, 0.6, 0.05]).all()
    values = row["quality"]["singular_values"]
    assert values[0] > values[1] > 5 * values[2] > 0
    with Bundle(bundle_path(whole, "plate")) as bundle:
        view = bundle.view(3)
        assert row["image_03"] == bundle.image_bytes(3)
    assert (decode(row, "image_03") == view.rgba).all()
    pose = np.array(row["cameras"][3]["camera_to_world"]).reshape(4, 4)
    assert np.abs(pose - view.camera.camera_to_world).max() < 1e-6
    assert row["cameras"][3]["fov"] == pytest.approx(view.camera.fov)


def test_columns_and_row_groups_are_read_alone(whole: Path) -> None:
    path = whole / "clouds" / read_manifest(whole / "clouds")[0].file
    with Shard(path) as shard:
        assert len(shard) == 3 and shard.row_groups == 3 and shard.views == 6
        row = next(shard.rows(["image_02", "uid"], groups=[1]))
        assert set(row) == {"image_02", "uid"} and row["uid"] == shard.uids()[1]
        with pytest.raises(ShardError, match="no column \\['image_17'\\]"):
            shard.table(0, ["image_17"])
        with pytest.raises(ShardError, match="not an array"):
            decode(row, "uid")


def test_normals_survive_eight_bits() -> None:
    normal = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    assert (decode_normal(encode_normal(normal)) * normal).sum(1).min() > 0.9999


def test_the_same_rows_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    add_models(tmp_path, ["ball", "tower", "plate", "cube"])
    for part in read_manifest(whole / "clouds"):
        assert (tmp_path / "clouds" / part.file).read_bytes() == (whole / "clouds" / part.file).read_bytes()
    manifests = [(out / "clouds" / MANIFEST).read_bytes() for out in (whole, tmp_path)]
    assert manifests[0] == manifests[1]


def test_appending_rewrites_nothing_and_repeating_changes_nothing(dataset: Path) -> None:
    clouds = dataset / "clouds"
    before = {part.file: (clouds / part.file).stat() for part in read_manifest(clouds)}
    add_models(dataset, ["cube", "cube-2", "ball"])
    parts = read_manifest(clouds)
    assert [part.file for part in parts] == [f"part-0000{i}.parquet" for i in range(3)]
    assert parts[2].rows == 1 and parts[2].first_uid == "cube-2"
    manifest = (clouds / MANIFEST).read_bytes()
    add_models(dataset, ["cube", "cube-2", "ball"])
    assert (clouds / MANIFEST).read_bytes() == manifest
    for file, stat in before.items():
        now = (clouds / file).stat()
        assert (now.st_mtime_ns, now.st_ino) == (stat.st_mtime_ns, stat.st_ino)
    assert not list(Layout(dataset).staging.glob(".*")), "temporary files are left"


def test_the_shuffle_is_global_and_seeded() -> None:
    staged = [f"m{i:03d}" for i in range(100)]
    plans = plan_shards(staged, [], set(), seed=1, shard_rows=30)
    order = [uid for plan in plans for uid in plan.uids]
    assert [len(plan.uids) for plan in plans] == [30, 30, 30, 10]
    assert sorted(order) == sorted(staged) and order != sorted(order)
    assert plan_shards(staged[::-1], [], set(), 1, 30) == plans
    assert plan_shards(staged, [], set(), seed=2, shard_rows=30) != plans
    assert plan_shards(staged, [], set(staged), 1, 30) == []


def test_a_shard_of_mixed_view_counts_is_refused(whole: Path, tmp_path: Path) -> None:
    table = table_of(rows_of(whole)[0])
    fewer = table.drop_columns([image_column(5), interior_column(5), layers_column(5)])
    with pytest.raises(ShardError, match="different numbers of views"):
        write_shard(tmp_path / "x.parquet", [table, fewer], "abc", {})


def test_rows_that_break_the_contract_are_refused(whole: Path) -> None:
    row = rows_of(whole)[0]
    with pytest.raises(ShardError, match="missing columns \\['weight'\\]"):
        table_of({name: value for name, value in row.items() if name != "weight"})
    with pytest.raises(ShardError, match="outside_xyz must be <f4"):
        table_of({**row, "outside_xyz": np.zeros((4, 3))})


def test_foreign_files_are_refused_with_a_remedy(whole: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("not parquet")
    with pytest.raises(ShardError, match=r"text.parquet: not a whole Parquet file .*fuse` again"):
        Shard(text)
    with pytest.raises(ShardError, match="no such shard"):
        Shard(tmp_path / "none.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ShardError, match="shard schema None"):
        Shard(tmp_path / "other.parquet")
    path = tmp_path / "short.parquet"
    table = table_of(rows_of(whole)[0]).drop_columns(["weight"])
    write_shard(path, [table], "abc", {})
    with pytest.raises(ShardError, match="column weight is None, expected"):
        Shard(path)


def test_shards_of_the_older_schema_are_read(whole: Path, tmp_path: Path) -> None:
    row = rows_of(whole)[0]
    new = ("outside_openness", "hidden_openness", "interior_", "layers_")
    table = table_of({name: value for name, value in row.items() if not name.startswith(new)})
    write_shard(tmp_path / "old.parquet", [table], "abc", {})
    with Shard(tmp_path / "old.parquet") as shard:
        assert shard.footer["insideout.schema_version"] == "2" and shard.views == 6
        assert list(row_problems(next(shard.rows()), 6)) == []
    with pytest.raises(ShardError, match="fused by an older release"):
        write_shard(tmp_path / "mixed.parquet", [table, table_of(row)], "abc", {})


def test_openness_and_masks_are_the_bundles_and_the_shapes(whole: Path) -> None:
    row = next(row for row in rows_of(whole) if row["uid"] == "ball")
    openness = decode(row, "outside_openness")
    assert openness.shape == (300,) and np.abs(openness / 255 - 0.5).max() < 0.03, "half the sky over each"
    assert decode(row, "interior_02").shape == (0, 0), "its bundle has no masks"
    layers = decode(row, "layers_02")
    assert (
        layers.dtype == np.uint8 and ((layers > 0) == (decode(row, "image_02")[..., 3] > 127)).mean() > 0.95
    )


def test_a_flipped_byte_is_an_error_when_read(dataset: Path) -> None:
    path = dataset / "clouds" / "part-00000.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(SCHEMA.get_field_index("outside_xyz") + 0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError, match="row group 0 is damaged"):
        list(read_rows(path))


def test_manifest_round_trip(whole: Path, tmp_path: Path) -> None:
    parts = read_manifest(whole / "clouds")
    write_manifest(tmp_path, reversed(parts))
    assert read_manifest(tmp_path) == parts
    assert describe(whole / "clouds" / parts[0].file) == parts[0]
    assert packed_uids(whole / "clouds", parts) == {"cube", "plate", "tower", "ball"}
    (tmp_path / MANIFEST).write_text('{"file": "x"}\n')
    with pytest.raises(ShardError, match="not a manifest"):
        read_manifest(tmp_path)


def test_packing_a_missing_staging_file_leaves_no_part(tmp_path: Path) -> None:
    plans = plan_shards(["a"], [], set(), 0, 8)
    with pytest.raises(ShardError, match="no such shard"):
        pack_shard(plans[0], Layout(tmp_path), "abc", {}, 16, {})
    assert Layout(tmp_path).shards() == set()
    assert not list(Layout(tmp_path).temporary.glob("*.unfinished"))
