"""The page of licences names everything that is needed at run time, and nothing that is not."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_licences", HOUSE / ".ci" / "make_licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed(text: str) -> dict[str, str]:
    return {
        name: licence
        for name, licence in re.findall(r"^\| ([\w.-]+) \| (.+) \|$", text, re.MULTILINE)
        if name != "package"
    }


@pytest.fixture(scope="module")
def parts(maker):
    _, needed, beneath = maker.PAGE.read_text(encoding="utf-8").split("\n## ")
    return listed(needed), listed(beneath)


def test_that_the_page_names_exactly_what_is_required(maker, parts):
    assert sorted(map(maker.key, parts[0])) == sorted(maker.direct())


def test_that_what_is_needed_in_turn_is_on_the_page(maker, parts):
    assert set(maker.beneath()) <= set(map(maker.key, parts[1]))


def test_that_every_package_has_a_licence_that_lets_it_stand_beside_ours(parts):
    allowed = re.compile(r"MIT|BSD|Apache|ISC|PSF|Zlib|Unlicense|MPL|LGPL|HPND|0BSD|CC0")
    both = {**parts[0], **parts[1]}
    assert len(both) > 20
    assert not {name: licence for name, licence in both.items() if not allowed.search(licence)}


def test_that_licences_are_what_the_packages_say(maker, parts):
    differing = {}
    for name, said in {**parts[0], **parts[1]}.items():
        try:
            now = maker.licence(name)
        except PackageNotFoundError:
            continue
        if now != said:
            differing[name] = (said, now)
    # A newer version of a package may state the same licence in other words; many at once say that the page is old.
    assert len(differing) <= 4, f"python .ci/make_licences.py writes the page anew: {differing}"
