"""Files in, a table out: floor, value and ceiling, the inside's scores, pairs by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fuse.export.model import write_ply, write_point_e
from render.failures import UserError
from tests.helpers.commands import insideout
from training.scores.clouds import Cloud, read_cloud, read_clouds
from training.scores.inside import inside_scores, share_correlation
from training.scores.report import compare, score
from training.settings import Scoring

QUICK = Scoring(score_points=200, set_points=100)


def ball(name: str, inner: float, points: int = 600, noise: float = 0.0, seed: int = 0) -> Cloud:
    """A ball, and a share `inner` of hidden points on a ball of a third of its size."""
    rng = np.random.default_rng([seed, *name.encode()])
    xyz = rng.normal(size=(points, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    hidden = np.arange(points) < inner * points
    xyz[hidden] /= 3
    return Cloud(name, xyz * [1, 0.5 + len(name) / 10, 0.4] + rng.normal(size=xyz.shape) * noise, hidden)


TRUE = [ball("a" * i, inner) for i, inner in enumerate([0.0, 0.2, 0.4, 0.5], 1)]
NEAR = [ball(cloud.name, i / 8, noise=0.06, seed=1) for i, cloud in enumerate(TRUE)]
FAR = [ball(cloud.name, 0.3, noise=0.2, seed=2) for cloud in TRUE]


def test_the_value_lies_between_floor_and_ceiling():
    report = score(NEAR, TRUE, QUICK)
    for name in (
        "Chamfer, mean distance",
        "Chamfer, squared sum",
        "EMD",
        "DCD, alpha 1000",
        "outside Chamfer",
    ):
        assert report[name].floor < report[name].value < report[name].ceiling, name
    for name in ("F-score@0.1", "hidden recall@0.05", "hidden precision@0.05"):
        assert report[name].floor > report[name].value > report[name].ceiling, name
    assert (report.points, report.floor_points, report.alignment) == (200, 200, "none")
    assert report["1-NNA, Chamfer"].ceiling == 1
    interval = report["EMD"].interval
    assert interval and interval.low < report["EMD"].value < interval.high
    assert score(NEAR, TRUE, Scoring(score_points=400)).floor_points == 300
    assert json.loads(json.dumps(report.record(), allow_nan=False))["points"] == 200


def test_scores_of_the_inside_by_hand():
    xyz = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], float)
    true = Cloud("x", xyz, np.array([True, True, False, False]))
    made = Cloud("x", xyz + np.array([0.01, 0, 0]), np.array([True, False, False, True]))
    found = inside_scores(made, true, 0.05)
    assert found["hidden recall@0.05"] == 0.5 and found["hidden precision@0.05"] == 0.5
    assert found["label accuracy"] == 0.5 and found["hidden share, bias"] == 0
    assert np.isnan(found["falsely hidden"])
    assert found["outside Chamfer"] == pytest.approx((0.01 + 0.99 + 0.01 + 0.99) / 4)
    blind = inside_scores(Cloud("x", xyz, np.zeros(4, bool)), true, 0.05)
    assert blind["hidden recall@0.05"] == blind["hidden precision@0.05"] == 0
    assert blind["hidden share, bias"] == -0.5
    solid = inside_scores(made, Cloud("x", xyz, np.zeros(4, bool)), 0.05)
    assert solid["falsely hidden"] == 0.5 and np.isnan(solid["hidden recall@0.05"])


def test_correlation_of_shares():
    assert share_correlation(NEAR, TRUE) == pytest.approx(
        np.corrcoef([0, 1 / 8, 2 / 8, 3 / 8], [0, 0.2, 0.4, 0.5])[0, 1], abs=1e-3
    )
    assert np.isnan(share_correlation([TRUE[0]] * 2, TRUE[:2]))


def test_the_better_of_two_is_found_in_pairs():
    found = compare(NEAR, FAR, TRUE, QUICK)
    better = found["Chamfer, mean distance"]
    assert better.high < 0 and better.lower == better.count == 4
    same = compare(NEAR, NEAR, TRUE, QUICK)["EMD"]
    assert (same.mean, same.lower) == (0, 0)


def test_files_are_read_as_they_are_written(tmp_path: Path):
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-1, 1, (30, 3)).astype(np.float32)
    rgb, label = np.zeros((30, 3), np.uint8), rng.random(30) < 0.5
    write_ply(tmp_path / "plain.ply", xyz, rgb)
    write_ply(tmp_path / "labeled.ply", xyz, rgb, label=label.astype(np.uint8))
    write_point_e(tmp_path / "point_e.npz", xyz, rgb, label)
    (tmp_path / "notes.txt").write_text("no cloud")
    clouds = {cloud.name: cloud for cloud in read_clouds(tmp_path)}
    assert clouds.keys() == {"plain", "labeled", "point_e"} and clouds["plain"].hidden is None
    for name in clouds:
        np.testing.assert_allclose(clouds[name].xyz, xyz, atol=1e-6)
    for name in ("labeled", "point_e"):
        hidden = clouds[name].hidden
        assert hidden is not None and hidden.tolist() == label.tolist()


def test_what_is_no_cloud_is_named(tmp_path: Path):
    for name, data in (("broken.ply", b"ply\nformat"), ("broken.npz", b"PK"), ("cloud.obj", b"v 0 0 0")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            read_cloud(tmp_path / name)
    np.savez(tmp_path / "nan.npz", coords=np.full((5, 3), np.nan))
    with pytest.raises(UserError, match=r"nan\.npz: not a cloud of two or more finite points"):
        read_cloud(tmp_path / "nan.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.ply or \.npz files"):
        read_clouds(tmp_path / "empty")
    with pytest.raises(UserError, match="no cloud has a true cloud of its name"):
        score(TRUE[:2], TRUE[2:], QUICK)


def test_the_verb_prints_a_table_and_writes_json(tmp_path: Path):
    for folder, clouds in (("true", TRUE), ("near", NEAR), ("far", FAR)):
        (tmp_path / folder).mkdir()
        for cloud in clouds:
            assert cloud.hidden is not None
            rgb, label = np.zeros(cloud.xyz.shape, np.uint8), cloud.hidden.astype(np.uint8)
            write_ply(tmp_path / folder / f"{cloud.name}.ply", cloud.xyz.astype(np.float32), rgb, label=label)
    flags = ["--score-points", "100", "--set-points", "50", "--align", "azimuth"]
    done = insideout(
        "score",
        tmp_path / "near",
        tmp_path / "true",
        *flags,
        "--baseline",
        tmp_path / "far",
        "--to",
        tmp_path / "s.json",
    )
    assert done.returncode == 0, done.stderr
    assert "4 pairs, 100 points per cloud, alignment azimuth" in done.stdout
    assert "hidden recall@0.05" in done.stdout and "lower for 4 of 4" in done.stdout
    written = json.loads((tmp_path / "s.json").read_text())
    assert {row["name"] for row in written["scores"]} >= {"EMD", "MMD, Chamfer", "hidden share, correlation"}
