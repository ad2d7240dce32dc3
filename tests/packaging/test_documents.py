"""What the documents of the repository name is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
FLOORS = ("resources", "models", "analysis", "gui")
TOPS = (*FLOORS, "tests", ".ci")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_that_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [one for one in re.findall(r"\]\(([^)#]+)", text) if not one.startswith("http")]
    assert targets or name == "ARCHITECTURE.md"
    assert [one for one in targets if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_that_every_path_that_is_named_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = {one for one in re.findall(r"[`\s(]((?:[\w.-]+/)+[\w.-]*)", text) if one.split("/")[0] in TOPS}
    assert named or name == "README.md"
    assert sorted(one for one in named if not (ROOT / one.rstrip(".,:;")).exists()) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_that_every_module_that_is_named_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    modules = re.findall(rf"(?<![\w./])((?:{'|'.join(FLOORS)})(?:\.[a-z_]+)+)(?![\w/])", text)
    paths = {one: ROOT.joinpath(*one.split(".")) for one in modules if not one.endswith((".py", ".md"))}
    assert [one for one, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").is_file())] == []


def test_that_every_package_we_depend_on_has_its_reason_and_no_other_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[^\w-]", one)[0].lower() for one in project["dependencies"]}
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \|[^|]+\|[^|]+\|$", text.split("## What we depend on")[1], re.MULTILINE)
    told = {one.lower() for row in rows for one in re.findall(r"[A-Za-z][\w-]*", re.sub(r"\(.*?\)", "", row))}
    told.discard("package")
    assert needed - told == set()
    optional = {re.split(r"[^\w-]", one)[0].lower() for own in project["optional-dependencies"].values() for one in own}
    assert told - needed - optional == set()


def test_that_the_commands_of_the_readme_are_the_ones_that_are_tried() -> None:
    readme, run = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    patterns = re.findall(r"grep -m 1 -E '([^']+)' README\.md", run)
    assert len(patterns) == 2
    assert all(re.search(pattern, readme, re.MULTILINE) for pattern in patterns)
