"""The report's files: what they hold, that only changes are written, the same by any number of workers."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest, write_manifest
from fuse.dataset.shard import decode, read_rows
from pipeline.report.scripts import script
from pipeline.report.site import Options, assets, write_report
from render.failures import UserError
from tests.helpers.commands import insideout
from tests.helpers.reported import ATTACK, HOSTILE, SHAPES, add_run, picture

_PUT = re.compile(rb"report\.put\(JSON\.parse\('(.*)'\),JSON\.parse\('(.*)'\)\);\n")


def read(path: Path) -> tuple[str, Any]:
    """(name, value) of a data script, as a browser reads it."""
    match = _PUT.fullmatch(path.read_bytes())
    assert match
    name, value = (re.sub(r"\\(['\\])", r"\1", text.decode("ascii")) for text in match.groups())
    return json.loads(name), json.loads(value)


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def column(report: Path, name: str) -> dict[str, Any]:
    _, index = read(report / "data" / "index.js")
    (known,) = [one for one in index["columns"] if one["name"] == name]
    found, value = read(report / known["file"])
    assert found == f"column/{name}"
    return value


def rows(dataset: Path) -> list[dict[str, Any]]:
    layout = Layout(dataset)
    return [row for part in read_manifest(layout.clouds) for row in read_rows(layout.shard(part.file))]


@pytest.mark.parametrize(
    "text", [*HOSTILE, "</script>", "\u2028\u2029\x7f", "\ud800", "back\\slash'", "\\u003c"]
)
def test_any_text_survives_its_script(text: str, tmp_path: Path):
    path = tmp_path / "one.js"
    path.write_bytes(script(text, {"text": [text], text: None}))
    assert read(path) == (text, {"text": [text], text: None})
    assert b"<" not in path.read_bytes() and path.read_bytes().isascii()


def test_columns_hold_every_row(dataset: Path, page: Path):
    there = rows(dataset)
    assert column(page.parent, "uid")["values"] == [row["uid"] for row in there]
    found = np.frombuffer(base64.b64decode(column(page.parent, "dense_outside")["numbers"]), "<f4")
    assert found.tolist() == [row["quality"]["dense_outside"] for row in there]
    spacing = np.frombuffer(base64.b64decode(column(page.parent, "spacing")["numbers"]), "<f4")
    assert np.isnan(spacing[-1]) and spacing[0] == np.float32(there[0]["quality"]["spacing"])
    seconds = np.frombuffer(base64.b64decode(column(page.parent, "render seconds")["numbers"]), "<f4")
    by_uid = dict(zip([row["uid"] for row in there], seconds.tolist(), strict=True))
    assert [by_uid[uid] for uid in SHAPES] == [1, 2, 3, 4] and np.isnan(by_uid[HOSTILE[0]])


def test_decisions_are_columns_and_a_cluster_has_its_counts(dataset: Path, page: Path):
    uids = [row["uid"] for row in rows(dataset)]
    decision, weight = column(page.parent, "decision"), column(page.parent, "weight")
    codes = np.frombuffer(base64.b64decode(decision["codes"]), "<u4")
    found = {uid: decision["values"][code] for uid, code in zip(uids, codes, strict=True)}
    assert found["tower"] == "left out: flat" and found["cube"] == "kept"
    assert [found[uid] for uid in HOSTILE[-2:]] == ["not decided yet"] * 2
    weights = np.frombuffer(base64.b64decode(weight["numbers"]), "<f4")
    assert dict(zip(uids, weights.tolist(), strict=True))["cube"] == 2
    assert column(page.parent, "reason")["values"][uids.index("tower")] == ATTACK
    clusters = read(page.parent / "data" / "curation.js")[1]["clusters"]
    assert (clusters[0]["models"], clusters[0]["kept"], clusters[0]["left"]) == (4, 3, [["flat", 1]])
    assert clusters[0]["share"] == pytest.approx(6 / 7) and clusters[1]["sheet"] is None
    assert (page.parent / clusters[0]["sheet"]).is_file()


def test_a_page_has_the_cloud_to_one_part_in_30000(dataset: Path, page: Path):
    row = next(row for row in rows(dataset) if row["uid"] == "cube")
    _, found = read(page.parent / "models" / Layout.bundle_name("cube").replace(".zip", ".js"))
    xyz = np.frombuffer(base64.b64decode(found["clouds"]["outside"]["xyz"]), "<i2").reshape(-1, 3) / 32767
    assert np.abs(xyz - decode(row, "outside_xyz")).max() < 1 / 32767
    assert base64.b64decode(found["clouds"]["outside"]["albedo"]) == row["outside_albedo"]
    kinds = [kind for kind, _ in found["views"][0]["pictures"]]
    assert kinds[:5] == ["lit", "albedo", "depth", "normal", "surfaces"] and len(found["views"]) == 2
    normal = picture(base64.b64decode(dict(found["views"][0]["pictures"])["normal"].partition(",")[2]))
    assert normal[0, 0, 3] == 0 and normal[24, 24, 3] == 255


def test_a_thumbnail_is_the_view_from_slightly_above(dataset: Path, page: Path):
    row = next(row for row in rows(dataset) if row["uid"] == "tower")
    heights = [camera["camera_to_world"][10] for camera in row["cameras"]]
    best = int(np.abs(np.array(heights) - 0.35).argmin())
    thumb = picture(
        (page.parent / "thumbs" / Layout.bundle_name("tower").replace(".zip", ".webp")).read_bytes()
    )
    view = decode(row, f"image_{best:02d}")
    assert np.array_equal(thumb[..., 3] > 127, view[..., 3] > 127)


def test_curves_are_thinned_and_end_where_the_run_ended(page: Path):
    (run,) = read(page.parent / "data" / "runs.js")[1]
    steps = run["curves"]["loss"]["step"]
    assert steps[-1] == 3998 and 500 < len(steps) <= 1500
    assert "loss" not in run["curves"]["validation"] or run["curves"]["validation"]["loss"] == [None]
    assert run["curves"]["score"] == {"step": [50, 100], "chamfer": [0.2, 0.1]}
    assert len(run["samples"]) == 12 and [run["samples"][i][0] for i in (0, -1)] == [0, 19]
    (evaluation,) = run["evaluations"]
    assert evaluation["means"] == [["own", 0.25]] and evaluation["scores"] == [["EMD", 0.5, 0.25, None]]


def test_failures_have_their_class_reason_and_log(page: Path):
    _, overview = read(page.parent / "data" / "overview.js")
    (render, _) = overview["stages"]
    assert (render["ok"], render["failed"]) == (4, 3)
    assert [(kind["class"], kind["count"]) for kind in render["failures"]] == [("crash", 2), ("timeout", 1)]
    assert "</script>" in render["failures"][0]["examples"][0]["log"]
    assert render["measures"][0]["total"] == 1 + 2 + 3 + 4 + 9


def test_again_writes_nothing_and_workers_change_nothing(dataset: Path, page: Path, tmp_path: Path):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    before = {path: path.stat().st_mtime_ns for path in (copy / "report").rglob("*")}
    said: list[str] = []
    write_report(copy, Options(views=2), said.append)
    assert said[-1].startswith("report: 0 files written")
    shutil.rmtree(copy / "report" / "models")
    (copy / "report" / "done.json").write_text("{}")
    write_report(copy, Options(views=2, workers=2))
    expected = files(page.parent)
    overview = "data/overview.js"  # has the folder's name
    assert {**files(copy / "report"), overview: b""} == {**expected, overview: b""}
    kept = [path for path in before if path.suffix == ".webp"]
    assert kept and all(path.stat().st_mtime_ns == before[path] for path in kept)


def test_a_shard_more_or_less_changes_only_its_models(dataset: Path, page: Path, tmp_path: Path):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    layout = Layout(copy)
    parts = read_manifest(layout.clouds)
    write_manifest(layout.clouds, parts[:-1])
    write_report(copy, Options(views=2))
    gone = "thumbs/" + Layout.bundle_name("__proto__").replace(".zip", ".webp")
    assert (page.parent / gone).exists() and not (copy / "report" / gone).exists()
    assert column(copy / "report", "uid")["values"] == [row["uid"] for row in rows(dataset)][: -len(HOSTILE)]
    add_run(copy, "second")
    write_manifest(layout.clouds, parts)
    said: list[str] = []
    write_report(copy, Options(views=2), said.append)
    assert [line for line in said if " 1/1" in line and parts[-1].file in line]
    assert len(read(copy / "report" / "data" / "runs.js")[1]) == 2


def test_pages_can_be_limited(dataset: Path, tmp_path: Path):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy, ignore=shutil.ignore_patterns("report"))
    write_report(copy, Options(views=1, pages=2))
    assert len(list((copy / "report" / "models").rglob("*.js"))) == 2
    assert len(list((copy / "report" / "thumbs").rglob("*.webp"))) == len(SHAPES) + len(HOSTILE)


def test_the_command_says_where_the_page_is_and_what_is_no_dataset(dataset: Path, page: Path, tmp_path: Path):
    done = insideout("report", dataset, "--views", 2, "--workers", 1)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == f"report: {page}"
    with pytest.raises(UserError, match="not a dataset"):
        write_report(tmp_path, Options())


def test_the_page_never_parses_text_as_markup():
    for name, data in assets():
        if name.startswith("assets/app/") and name.endswith(".js"):
            found = re.search(
                rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", data
            )
            assert not found, name
