"""No version that is allowed has a hole that was known when this was written (PyPA advisory database, GitHub advisories).

``pip-audit`` asks for what became known since; where there is no network it has nothing to ask.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

FIXED_IN = {
    "aiohttp": "3.13.3",  # CVE-2025-69223 and others: bombs, smuggled requests
    "filelock": "3.20.3",  # CVE-2025-68146, CVE-2026-22701: links put in place of a lock
    "jinja2": "3.1.6",  # CVE-2024-22195, CVE-2025-27516: attributes, the sandbox
    "joblib": "1.2.0",  # CVE-2022-21797: eval of an argument
    "numpy": "1.22.2",  # CVE-2021-41495
    "orjson": "3.9.15",  # CVE-2024-27454: no limit to how deep JSON may be
    "pyarrow": "14.0.1",  # CVE-2023-47248: code in Parquet and IPC files
    "pyyaml": "5.4",  # CVE-2020-14343: objects made by a loader
    "tqdm": "4.66.3",  # CVE-2024-34062: eval of command-line arguments
}


def requirements() -> list[Requirement]:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for name, several in project["optional-dependencies"].items() if name != "dev" for one in several]
    return [Requirement(one) for one in (*project["dependencies"], *extras)]


@pytest.mark.parametrize("name", sorted(FIXED_IN))
def test_that_no_allowed_version_has_a_known_hole(name: str) -> None:
    asked = [one for one in requirements() if re.sub(r"[-_.]+", "-", one.name).lower() == name]
    assert asked
    for one in asked:
        lowest = [Version(part.version) for part in one.specifier if part.operator == ">="]
        assert lowest
        assert min(lowest) >= Version(FIXED_IN[name])
