"""`verify` passes a whole dataset and names every way in which one was broken."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuse.dataset.layout import MANIFEST
from fuse.dataset.manifest import describe, read_manifest, write_manifest
from fuse.dataset.shard import decode, read_rows, table_of, write_shard
from fuse.dataset.verify import verify
from tests.helpers.fuse_dataset import bundle_path

PART = "part-00000.parquet"


def only_finding(out: Path, **options: bool) -> str:
    report = verify(out, **options)
    assert len(report.findings) == 1, str(report)
    assert not report.ok
    return str(report.findings[0])


def rewrite(out: Path, **changes: object) -> None:
    """Change columns of the first part's first row and bring the manifest into line with the file."""
    path = out / "clouds" / PART
    rows = list(read_rows(path))
    rows[0] = {**rows[0], **changes}
    write_shard(path, [table_of(row) for row in rows], "abc", {})
    write_manifest(out / "clouds", [describe(path), *read_manifest(out / "clouds")[1:]])


def first_row(out: Path) -> dict:
    return next(read_rows(out / "clouds" / PART))


def test_a_whole_dataset_passes(whole: Path) -> None:
    report = verify(whole)
    assert report.ok, str(report)
    assert (report.parts, report.rows, report.bundles) == (2, 4, 4)
    assert "no fault found" in str(report)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_flipped_byte_in_a_shard(dataset: Path, where: float) -> None:
    path = dataset / "clouds" / PART
    data = bytearray(path.read_bytes())
    data[int(len(data) * where)] ^= 0x10
    path.write_bytes(data)
    finding = only_finding(dataset)
    assert finding.startswith(f"clouds/{PART}: damaged") and "insideout fuse" in finding


def test_a_truncated_shard(dataset: Path) -> None:
    path = dataset / "clouds" / PART
    path.write_bytes(path.read_bytes()[:-100])
    assert f"clouds/{PART}: truncated" in only_finding(dataset)


def test_a_missing_part(dataset: Path) -> None:
    (dataset / "clouds" / PART).unlink()
    assert f"clouds/{PART}: missing" in only_finding(dataset)


def test_a_part_that_nobody_wrote_down(dataset: Path) -> None:
    clouds = dataset / "clouds"
    write_manifest(clouds, read_manifest(clouds)[:1])
    assert "clouds/part-00001.parquet: not named in the manifest" in only_finding(dataset)


def test_a_broken_manifest(dataset: Path) -> None:
    (dataset / "clouds" / MANIFEST).write_text("{")
    assert "not a manifest" in only_finding(dataset)


def test_a_uid_that_stands_twice(dataset: Path) -> None:
    clouds = dataset / "clouds"
    (clouds / "part-00002.parquet").write_bytes((clouds / "part-00001.parquet").read_bytes())
    write_manifest(clouds, [*read_manifest(clouds), describe(clouds / "part-00002.parquet")])
    assert "already in part-00001.parquet" in only_finding(dataset)


def test_a_manifest_that_disagrees_with_the_footer(dataset: Path) -> None:
    clouds = dataset / "clouds"
    parts = read_manifest(clouds)
    write_manifest(clouds, [replace(parts[0], config_hash="other"), *parts[1:]])
    assert "configuration hash 'abc', the manifest says 'other'" in only_finding(dataset)


def test_rows_that_break_the_contract(dataset: Path) -> None:
    row = first_row(dataset)
    xyz = decode(row, "outside_xyz")
    far = xyz.copy()
    far[0] *= 3
    short = np.zeros_like(decode(row, "outside_normal"))
    broken = {
        "outside the box": {"outside_xyz": far},
        "not finite": {"outside_xyz": np.full_like(xyz, np.nan)},
        "not in farthest-point order": {"outside_xyz": xyz[::-1].copy()},
        "repeats points": {"outside_xyz": np.concatenate([xyz[:-1], xyz[:1]])},
        "n_outside says 299": {"n_outside": 299},
        "an array cannot be read": {"outside_rgb": row["outside_rgb"][:-1]},
        "not 1": {"outside_normal": short},
        "image_02: not a PNG": {"image_02": b"PNG?"},
        "5 cameras for 6 images": {"cameras": row["cameras"][:5]},
    }
    for message, changes in broken.items():
        rewrite(dataset, **changes)
        report = verify(dataset, bundles=False)
        assert any(message in str(finding) and row["uid"] in str(finding) for finding in report.findings), (
            message
        )
        rewrite(dataset, **row)
    assert verify(dataset, bundles=False).ok


def test_damaged_and_misplaced_bundles(dataset: Path) -> None:
    path = bundle_path(dataset, "cube")
    whole = path.read_bytes()
    data = bytearray(whole)
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)
    assert "cube.zip" in only_finding(dataset) and "insideout render" in only_finding(dataset)
    path.write_bytes(whole[: len(whole) // 2])
    assert "not a complete view bundle" in only_finding(dataset)
    path.write_bytes(whole)
    path.rename(path.with_name("other.zip"))
    assert "holds the model 'cube'" in only_finding(dataset)


def test_a_bundle_without_one_of_its_images(dataset: Path) -> None:
    path = bundle_path(dataset, "ball")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "depth/002.png"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert json.loads(members["meta.json"])["uid"] == "ball"
    assert "depth/002.png" in only_finding(dataset)
