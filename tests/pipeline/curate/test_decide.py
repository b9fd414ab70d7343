"""Which rule decides, in which order, and what a duplicate group keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from fuse.dataset.decisions import Decision
from fuse.sampling import farthest_points
from pipeline.curate.decide import Facts, decide, outliers
from pipeline.curate.duplicates import Probe, alike, groups, joining, same_content, similar_pairs
from pipeline.curate.rules import Rules

USUAL = {
    "license": "CC0-1.0", "weight": 1.0, "thinnest": 0.3, "one_color": 0.4, "size": 2.0, "faces": 100.0,
    "hidden_fraction": 0.2, "dense_outside": 5000.0, "missing_textures": 0.0,
}  # fmt: skip


def bar_sample(seed: int) -> np.ndarray:
    """512 points of a bar's surface, farthest from each other."""
    points = np.random.default_rng(seed).normal(size=(20_000, 3))
    points = points / np.abs(points).max(1, keepdims=True) * [1, 0.3, 0.2]
    return points[farthest_points(points.astype(np.float32), 512)].astype(np.float16)


def facts(
    rows: dict[str, dict], clusters: list[int] | None = None, pairs: Sequence[tuple[int, int]] = ()
) -> Facts:
    table = pa.Table.from_pylist([{"uid": uid, **USUAL, **row} for uid, row in rows.items()])
    return Facts(table, np.array(clusters or [0] * len(rows)), pairs)


def by_uid(decided: list[Decision]) -> dict[str, Decision]:
    return {one.uid: one for one in decided}


def test_flat_unlicensed_and_broken_models_have_their_reasons():
    rows = {
        "chair": {}, "rug": {"thinnest": 0.004}, "nan": {"thinnest": np.nan}, "whose": {"license": None},
        "gray": {"missing_textures": 3.0},
    }  # fmt: skip
    found = by_uid(decide(facts(rows), Rules(require_license=True)))
    assert {uid: (one.weight, one.rule) for uid, one in found.items()} == {
        "chair": (1, "cluster"), "rug": (0, "flat"), "nan": (0, "flat"), "whose": (0, "license"),
        "gray": (0.25, "missing_textures"),
    }  # fmt: skip
    assert found["rug"].reason == "smallest singular value 0.0040 below 0.01"
    assert found["gray"].reason == "3 missing textures"


def test_a_model_by_name_is_stronger_than_every_rule():
    rows = {"rug": {"thinnest": 0.0}, "chair": {}, "copy": {}}
    rules = Rules(models={"rug": "good", "chair": "out", "copy": "good"})
    found = by_uid(decide(facts(rows, pairs=[(1, 2)]), rules))
    assert [found[uid].weight for uid in rows] == [1, 0, 1]


def test_weights_are_the_lists_times_the_buckets():
    rows = {"a": {"weight": 2.0}, "b": {"weight": 2.0}, "c": {"weight": 0.0}}
    rules = Rules(buckets={"best": 3, "good": 1}, default="good", clusters={1: "best"}, flags={})
    found = by_uid(decide(facts(rows, [1, 0, 1]), rules))
    assert [(found[uid].weight, found[uid].own_weight) for uid in rows] == [(6, 2), (2, 2), (0, 0)]


def test_a_group_keeps_its_best_model():
    rows = {"d": {"dense_outside": 9.0}, "c": {"missing_textures": 1.0}, "b": {}, "a": {}, "alone": {}}
    found = by_uid(decide(facts(rows, pairs=[(0, 1), (1, 2), (2, 3)]), Rules(flags={}, outlier=0)))
    assert [uid for uid, one in found.items() if one.kept] == ["a", "alone"]
    assert {found[uid].duplicate_of for uid in "dcb"} == {"a"}
    found = by_uid(decide(facts(rows, pairs=[(0, 1)]), Rules(duplicates=False)))
    assert all(one.kept for one in found.values())


def test_balanced_clusters_weigh_the_same():
    rows = {f"m{i}": {} for i in range(10)}
    decided = decide(facts(rows, [0] * 8 + [1] * 2), Rules(balance=1))
    weights = np.array([one.weight for one in decided])
    assert weights[:8].sum() == pytest.approx(weights[8:].sum())
    assert weights.sum() == pytest.approx(10)


def test_an_outlier_is_found_on_a_log_scale_only_where_it_should():
    values = np.array([1.0, 1.1, 0.9, 1.2, 1000.0, 0.001, np.nan, 0.0])
    assert [index for index, _ in outliers("size", values, True, 6)] == [4, 5]
    assert outliers("size", np.ones(9), True, 6) == []


def test_duplicates_look_alike_and_agree_in_shape_even_turned():
    bar, other = bar_sample(0), bar_sample(1)
    turned, upright = other[:, [1, 0, 2]] * [-1, 1, 1], other[:, [2, 1, 0]]
    red, green = np.full((512, 3), (200, 30, 30), np.uint8), np.full((512, 3), (30, 200, 30), np.uint8)
    look, another = np.array([1, 0], np.float16), np.array([0.9, 0.43], np.float16)
    assert alike(Probe(look, bar, red), Probe(look, other, red), Rules())
    assert alike(Probe(look, bar, red), Probe(look, turned, red), Rules())
    assert not alike(Probe(look, bar, red), Probe(look, upright, red), Rules())
    assert not alike(Probe(look, bar, red), Probe(another, other, red), Rules())
    assert not alike(Probe(look, bar, red), Probe(look, other, green), Rules())


def test_pairs_by_features_and_by_content():
    angles = np.array([0, 0.1, 1.0, 1.05, 3.0])
    places = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert similar_pairs(places, 0.99) == [(0, 1), (2, 3)]
    files = [("aa", "x.glb"), ("bb", "y.glb"), ("aa", "z.glb"), ("", "p"), ("", "q")]
    assert list(same_content(files)) == [(0, 2)]
    assert list(same_content([("aa", "p.zip/a.obj"), ("aa", "p.zip/b.obj")])) == []
    asked: list[tuple[int, int]] = []
    agree = lambda i, j: asked.append((i, j)) or (i, j) != (3, 4)  # noqa: E731
    assert joining([(0, 2), (1, 2), (3, 4)], [(0, 1)], agree) == [(0, 1), (0, 2)]
    assert asked == [(0, 2), (3, 4)], "1 and 2 are joined already"
    assert groups(6, [(0, 1), (4, 5), (1, 2)]) == [[0, 1, 2], [4, 5]]


def test_rules_that_name_no_bucket_are_refused():
    with pytest.raises(ValueError, match="no bucket 'great'; there are good, poor, out"):
        Rules(clusters={0: "great"})
