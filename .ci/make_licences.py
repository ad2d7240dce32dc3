"""Make `resources/guide/9-licences.md`: what Runglass is made of and needs, and under which licence.

Usage, in an environment in which Runglass is installed with what it needs::

    python .ci/make_licences.py

Names and licences are what the packages themselves say of them; `tests/packaging` holds the page against them.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
PAGE = HOUSE / "resources" / "guide" / "9-licences.md"

SPDX = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}

OUR_OWN = """\
# Licences

Runglass is under the MIT licence. Its icons are outlines of Phosphor (MIT) and of Material Design Icons (Apache-2.0).
Everything else below is installed beside it and not part of it. Qt for Python is taken under the LGPL, as a library of its own
that can be replaced.
"""


def key(name: str) -> str:
    """Give the name of a package as all tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    """Give the package a requirement is about."""
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return match.group()


def direct() -> dict[str, str]:
    """Give the packages that pyproject.toml requires at run time, by their key."""
    with open(HOUSE / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    return {key(named(one)): named(one) for one in project["dependencies"]}


def licence(name: str) -> str:
    """Give the licence a package states, as an SPDX expression where it gives one; empty where it states none."""
    said = distribution(name).metadata
    if said.get("License-Expression"):
        return str(said["License-Expression"])
    classes = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith("License")]
    if known := [SPDX[one] for one in classes if one in SPDX]:
        return " OR ".join(dict.fromkeys(known))
    text = str(said.get("License") or "").strip().partition("\n")[0]
    return text[:80] or ", ".join(classes)


def beneath() -> dict[str, str]:
    """Give what those packages need in turn, by its key: as far as it is installed here."""
    found: dict[str, str] = {}
    waiting = list(direct().values())
    seen = {key(name) for name in waiting}
    while waiting:
        try:
            requires = distribution(waiting.pop()).requires or ()
        except PackageNotFoundError:  # for another system or another Python
            continue
        for one in requires:
            name = named(one)
            if "extra ==" in one or key(name) in seen:
                continue
            try:
                found[key(name)] = distribution(name).metadata["Name"]
            except PackageNotFoundError:
                continue
            seen.add(key(name))
            waiting.append(name)
    return found


def table(packages: dict[str, str]) -> str:
    """Give one line for every package."""
    rows = [f"| {name} | {licence(name)} |" for _, name in sorted(packages.items())]
    return "\n".join(["| package | licence |", "|---|---|", *rows])


def page() -> str:
    """Give the whole page."""
    return f"{OUR_OWN}\n## What it needs\n\n{table(direct())}\n\n## What these need\n\n{table(beneath())}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
