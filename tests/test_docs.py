"""README.md and docs/ name only what exists: files, settings, verbs, flags, failure classes, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuse.dataset.layout import Layout
from fuse.dataset.shard import SCHEMA
from pipeline.arguments import parse
from pipeline.cli import VERBS, module_of
from pipeline.run_config import RunConfig
from render.failures import FailureClass
from tests.helpers.commands import insideout
from tests.helpers.fuse_dataset import add_models
from tests.helpers.places import ROOT
from tests.test_house import ROOMS, modules

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCS]
FOLDERS = (*ROOMS, "tests", "configs", "docs", "examples")
LONG = 100
"""Lines beyond which a document needs a table of contents."""

each_document = pytest.mark.parametrize("document", DOCS, ids=NAMES)


def code(text: str) -> Iterator[str]:
    """Every inline code span and every line of a code block; broken lines are joined."""
    text = re.sub(r"\\\n *", "", text)
    fenced = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for block in fenced.findall(text):
        yield from block.splitlines()
    text = fenced.sub("", text)
    yield from re.findall(r"^ {4}.+$", text, re.MULTILINE)
    for span in re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`", text):
        yield " ".join(span.split())


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(text: str) -> list[str]:
    outside_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^##+ (.+)$", outside_code, re.MULTILINE)


def links(text: str) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in found if not link.startswith(("http:", "https:"))]


# ---- files, modules, settings ----------------------------------------------------------------------------


@each_document
def test_every_path_exists(document: Path):
    pattern = re.compile(rf"(?<![\w/.\-])(?:{'|'.join(FOLDERS)})/[\w./\-]*[\w/]")
    text = " ".join(code(document.read_text()))
    missing = [name for name in pattern.findall(text) if not (ROOT / name).exists()]
    assert not missing


@each_document
def test_every_recipe_exists(document: Path):
    recipes = {path.name for path in (ROOT / "configs").rglob("*.yaml")} | {Layout(ROOT).rules.name}
    text = " ".join(code(document.read_text()))
    assert set(re.findall(r"[\w\-]+\.yaml\b", text)) <= recipes


@each_document
def test_every_dotted_name_is_a_module_or_a_setting(document: Path):
    known = modules()
    settings = {f"{name}.{key}" for name, field in RunConfig.model_fields.items() for key in fields(field)}
    for word in code(document.read_text()):
        for name in re.findall(rf"(?<![\w/.\-])(?:{'|'.join(ROOMS)})(?:\.\w+)+", word):
            parent, _, attribute = name.rpartition(".")
            defined = parent in known and re.search(
                rf"^(class|def) {attribute}\b|^{attribute}\b", known[parent].read_text(), re.MULTILINE
            )
            assert name in known or name in settings or defined, name


def fields(field: object) -> list[str]:
    return list(field.annotation.model_fields)  # type: ignore[attr-defined]


# ---- commands --------------------------------------------------------------------------------------------


@cache
def flags() -> frozenset[str]:
    """Every verb's flags, as shells complete them."""
    script = insideout("completion", "bash")
    assert script.returncode == 0, script.stderr
    return frozenset(re.findall(r"--[a-z][\w-]*", script.stdout))


def commands(line: str) -> Iterator[tuple[str, list[str]]]:
    """(verb, words) of an `insideout` command, and of the job inside a `submit`."""
    for command in re.findall(r"\binsideout ([^#)`>|]+)", line):
        words = shlex.split(command)
        starts = [at for at, word in enumerate(words) if word in VERBS]
        if words[0] == "submit" and len(starts) > 1:
            yield "submit", words[1 : starts[1]]
            words = words[starts[1] :]
        yield words[0], words[1:]


COMMANDS = [
    (f"{path.relative_to(ROOT).as_posix()}: {verb} {shlex.join(words)}", verb, words)
    for path in [*DOCS, *sorted((ROOT / "configs" / "cluster").iterdir())]
    for line in (code(path.read_text()) if path.suffix == ".md" else path.read_text().splitlines())
    for verb, words in commands(line)
    if verb not in ("VERB", "--version")
]


def test_commands_are_found():
    assert {verb for _, verb, _ in COMMANDS} >= {"render", "fuse", "train", "generate", "submit", "status"}


@pytest.mark.parametrize(("verb", "words"), [c[1:] for c in COMMANDS], ids=[c[0] for c in COMMANDS])
def test_every_command_is_one_that_insideout_takes(verb: str, words: list[str]):
    assert verb in VERBS
    if words and not {"...", "--help"} & set(words):
        parse(module_of(verb).Command, verb, words)


@each_document
def test_every_flag_by_itself_is_a_flag_of_some_verb(document: Path):
    for word in code(document.read_text()):
        if word.startswith("--"):
            assert word.split()[0].partition("=")[0] in flags() | {"--version"}, word


@each_document
def test_every_make_target_exists(document: Path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(document.read_text()):
        if match := re.match(r"make ([a-z]+)", line):
            assert match[1] in targets, line


# ---- contracts -------------------------------------------------------------------------------------------


def table_column(text: str, header: str) -> list[list[str]]:
    """The first column of every table whose first column is called `header`."""
    tables = re.findall(rf"^\| {header} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [re.findall(r"^\| `(\w+)`", rows, re.MULTILINE) for rows in tables]


def test_readme_explains_exactly_the_failure_classes():
    assert table_column((ROOT / "README.md").read_text(), "class") == [[kind.value for kind in FailureClass]]


@each_document
def test_tables_of_classes_name_only_failure_classes(document: Path):
    for names in table_column(document.read_text(), "class"):
        assert names and set(names) <= {"ok", *FailureClass}


def test_the_dataset_document_names_every_column():
    text = " ".join(code((ROOT / "docs" / "dataset.md").read_text()))
    missing = [name for name in SCHEMA.names if not re.search(rf"\b{name}\b", text)]
    assert not missing
    quality = {str(field.name) for field in SCHEMA.field("quality").type}
    both = text + " ".join(code((ROOT / "docs" / "inside.md").read_text()))
    assert [name for name in sorted(quality) if name not in both] == []


def test_the_python_examples_run(tmp_path: Path):
    add_models(tmp_path, ["cube", "ball"])
    text = (ROOT / "README.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for example in examples:
        exec(example.replace("out/mine", str(tmp_path)), names)
    assert names["xyz"].shape == names["rgb"].shape == (300, 3) and np.abs(names["xyz"]).max() > 0.9
    (decoded,) = re.findall(r"^(np\.frombuffer.*)$", (ROOT / "docs" / "dataset.md").read_text(), re.MULTILINE)
    assert np.array_equal(eval(decoded, {"np": np, "row": names["row"]}), names["xyz"])


# ---- form ------------------------------------------------------------------------------------------------


@each_document
def test_links_resolve(document: Path):
    for link in links(document.read_text()):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in map(slug, headings(target.read_text())), link
        if target.suffix == ".png":
            with Image.open(target) as image:
                image.verify()


@each_document
def test_long_documents_have_a_table_of_contents(document: Path):
    text = document.read_text()
    if len(text.splitlines()) > LONG:
        top = text.partition("\n## ")[0]
        listed = {link[1:] for link in links(top) if link.startswith("#")}
        sections = {slug(heading) for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)}
        assert listed == sections


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
