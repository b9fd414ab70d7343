"""What shows one object lies on one side of the split, whenever and under whatever name it arrives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuse.config import FuseConfig
from fuse.dataset import splits
from fuse.dataset.layout import Layout
from fuse.dataset.shard import read_rows, table_of, write_shard
from fuse.dataset.splits import PROBE, Member, decide, objects, same_surface, split_of
from fuse.sampling import farthest_points
from fuse.worker import singular_values
from pipeline.config import EngineConfig
from pipeline.stages.fuse import pack
from tests.helpers.cloud_rows import make_row


def cloud(kind: str, seed: int, stretch: float = 1.0) -> np.ndarray:
    """A farthest-point sample, (1024, 3), of a ball's or a box's surface."""
    unit = np.random.default_rng(seed).normal(size=(8000, 3))
    size = np.linalg.norm(unit, axis=1) if kind == "ball" else np.abs(unit).max(axis=1)
    xyz = (unit / size[:, None] * [1, 0.8, 0.5 * stretch]).astype(np.float32)
    return xyz[farthest_points(xyz, 1024)]


def member(uid: str, source: str, sha: str = "", split: str = "", points: np.ndarray | None = None) -> Member:
    """A row; without `points` its cloud is like no other."""
    if points is None:
        rng = np.random.default_rng(list(uid.encode()))
        points = (rng.normal(size=(600, 3)) * rng.uniform(0.1, 1, 3)).astype(np.float32)
    values = tuple(singular_values(points).tolist())
    return Member(uid, source, sha or uid, split, values, points[:PROBE].astype(np.float16))


def groups(*members: Member) -> list[str]:
    return sorted(" ".join(one.uid for one in some) for some in objects(members))


def test_formats_and_levels_of_detail_of_a_name_are_one_object() -> None:
    names = ["chair.obj", "Chair.glb", "chair_LOD0.obj", "chair-lod 2.fbx", "chair_2.obj", "melodic1.obj"]
    members = [member(f"m{i}", f"set/{name}") for i, name in enumerate(names)]
    elsewhere = [member("other", "more/chair.obj"), member("zipped", "set.zip/chair.obj")]
    assert groups(*members, *elsewhere) == ["m0 m1 m2 m3", "m4", "m5", "other", "zipped"]


def test_copies_of_a_file_are_one_object_and_files_of_one_archive_are_not() -> None:
    files = [("a", "x/one.glb"), ("b", "y/two.glb"), ("c", "pack.zip/c.obj"), ("d", "pack.zip/d.obj")]
    members = [member(uid, source, sha="same" if uid in "ab" else "pack") for uid, source in files]
    assert groups(*members, member("e", "copy.zip/c.obj", sha="pack")) == ["a b", "c e", "d"]


def test_clouds_of_one_surface_are_one_object() -> None:
    clouds = {
        "ball-1": cloud("ball", 1),
        "ball-2": cloud("ball", 2),
        "box-1": cloud("box", 3),
        "box-2": cloud("box", 4),
        "taller-box": cloud("box", 5, stretch=1.15),
    }
    members = [member(uid, f"{uid}/x.glb", points=points) for uid, points in clouds.items()]
    assert groups(*members) == ["ball-1 ball-2", "box-1 box-2", "taller-box"]
    turned = clouds["box-1"][:, [1, 0, 2]]
    assert not same_surface(clouds["box-1"], turned)


def test_one_uid_decides_for_its_object_and_the_list_for_its_rows() -> None:
    alone = decide([member(f"m{i:04d}", f"{i}/x.glb") for i in range(300)], 0.2, 0.3)
    assert alone == {uid: split_of(uid, 0.2, 0.3) for uid in alone}
    pairs = [member(f"m{i:04d}{side}", f"{i}/x.{side}") for i in range(300) for side in ("glb", "obj")]
    both = decide(pairs, 0.2, 0.3)
    assert all(both[f"m{i:04d}glb"] == both[f"m{i:04d}obj"] for i in range(300))
    listed = [one._replace(split="test") if one.uid.endswith("obj") else one for one in pairs]
    assert set(decide(listed, 0.2, 0.0).values()) == {"test"}  # the others follow
    torn = [member("a", "x/a.glb", split="test"), member("b", "x/a.obj", split="train")]
    assert decide([*torn, member("c", "x/a.stl")], 0.0, 0.0) == {"c": "train"}


def test_shares_are_nested() -> None:
    uids = [f"model-{i}" for i in range(4000)]
    few = {uid for uid in uids if split_of(uid, 0.05) == "validation"}
    more = {uid for uid in uids if split_of(uid, 0.1) == "validation"}
    test = {uid for uid in uids if split_of(uid, 0.05, 0.1) == "test"}
    assert 150 < len(few) < 250 and few < more and 330 < len(test) < 470 and not test & few
    assert {split_of(uid, 0.0) for uid in uids} == {"train"}
    with pytest.raises(ValueError, match="leave nothing to train on"):
        FuseConfig(validation=0.5, test=0.5)


def stage(layout: Layout, uids: list[str], split: str = splits.UNDECIDED) -> None:
    """Put rows into the staging folder as `fuse.worker` leaves them; `ID.obj` and `ID.glb` are one object."""
    for uid in uids:
        row = make_row(0, 1, 600, split)
        row |= {"uid": uid, "source": f"{uid[:3]}/x{uid[3:]}", "source_sha256": uid}
        row["outside_xyz"] = np.random.default_rng(list(uid.encode())).normal(size=(600, 3)).astype("<f4")
        row["quality"]["singular_values"] = singular_values(row["outside_xyz"])
        layout.staging.mkdir(parents=True, exist_ok=True)
        write_shard(layout.staged_row(uid), [table_of(row)], "hash", {})


def packed(layout: Layout) -> dict[str, str]:
    rows = [row for path in layout.clouds.glob("*.parquet") for row in read_rows(path, ["uid", "split"])]
    return {row["uid"]: row["split"] for row in rows}


def test_packing_decides_and_what_comes_later_follows(tmp_path: Path) -> None:
    config, layout = FuseConfig(validation=0.3, test=0.3), Layout(tmp_path)
    first, second = ([f"{i:03d}.{kind}" for i in range(40)] for kind in ("obj", "glb"))
    stage(layout, first)
    pack(layout, config, EngineConfig(), seed=0)
    before = packed(layout)
    assert before == {uid: split_of(uid, 0.3, 0.3) for uid in first}
    stage(layout, second)
    stage(layout, ["900.obj"], "test")  # an input list's
    pack(layout, config, EngineConfig(), seed=0)
    after = packed(layout)
    assert after.pop("900.obj") == "test"
    assert after == before | {f"{uid[:3]}.glb": split for uid, split in before.items()}
    assert any(split_of(uid, 0.3, 0.3) != after[uid] for uid in second)  # alone they would leak
