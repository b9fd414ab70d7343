"""The cluster files parse, fit Ray's own schema, and agree with the lock, the image and the command line."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from pipeline.cli import VERBS
from tests.helpers.places import ROOT

CLUSTER = ROOT / "configs" / "cluster"
LOCKED = re.search(r"^ray==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
SCHEMA = Path(ray.autoscaler.__file__).with_name("ray-schema.json")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


def test_ray_up_fits_rays_schema_and_keeps_work_off_the_head():
    config = read("ray-up.yaml")
    jsonschema.validate(config, json.loads(SCHEMA.read_text()))
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert types["spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in command for command in starts if "ray start" in command)
    assert "--dashboard-host=0.0.0.0" not in " ".join(starts)


def test_rays_schema_would_notice_a_mistake():
    config = read("ray-up.yaml") | {"max_worker": 3}
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate(config, json.loads(SCHEMA.read_text()))


def test_rayjob_runs_what_the_image_has():
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["submissionMode"] == "HTTPMode" and spec["backoffLimit"] == 3
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0
    program, verb, *flags = shlex.split(spec["entrypoint"])
    assert program == "insideout" and verb in VERBS and "--workers" in flags
    assert "env_vars" in yaml.safe_load(spec["runtimeEnvYAML"])
    cluster = spec["rayClusterSpec"]
    assert LOCKED and cluster["rayVersion"] == LOCKED[1], "the lock's Ray, or the nodes refuse each other"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_pods_mount_what_they_name_and_have_the_memory_for_their_cores():
    cluster = read("rayjob.yaml")["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        assert container["image"] == read("ray-up.yaml")["docker"]["image"]
        limits = container["resources"]["limits"]
        assert int(limits["memory"].removesuffix("Gi")) >= 1.5 * int(limits["cpu"]) + 2


def test_the_image_has_every_package_and_folder():
    lines = (CLUSTER / "Dockerfile").read_text()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    top = {name.split(".")[0] for name in packages}
    assert all(f"\nCOPY {name} {name}\n" in lines for name in top | {"configs"})
    assert lines.index("FROM python:3.11-slim-bookworm") < lines.index("pip install")
    assert "-c requirements.lock" in lines and "system-libraries.txt" in lines and "\nUSER ray\n" in lines
    for copied in re.findall(r"^COPY (.+) \S+$", lines, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split()), copied
