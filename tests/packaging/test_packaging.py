"""What is installed is what is in the repository: setuptools leaves out what is not listed, and does not say so."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import runglass
from runglass.gui import system_libraries

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXAMPLE = Path(__file__).parent / "example_plugin"
HOUSE = ("resources", "models", "analysis", "gui")
SOURCES = {source for module in PROJECT["tool"]["setuptools"]["ext-modules"] for source in module["sources"]}
KERNELS = "runglass/models/kernels/_compiled"
"""How the name of the compiled kernels begins in a wheel; without a compiler they are not there."""


def test_that_the_packages_listed_are_the_folders_that_hold_modules() -> None:
    folders = {path.parent for top in HOUSE for path in (ROOT / top).rglob("*.py")}
    folders = {folder for folder in folders if "demo" not in folder.parts}
    found = {"runglass"} | {".".join(("runglass", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_that_every_folder_of_modules_is_a_package() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    folders = [ROOT.joinpath(*name.split(".")[1:]) for name in listed]
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_that_the_installed_version_is_the_one_in_the_package() -> None:
    assert importlib.metadata.version("runglass") == runglass.__version__


def test_that_the_pyside_recommended_is_the_pyside_required() -> None:
    old, new = (
        re.split("[;]", line)[0].removeprefix("PySide6-Essentials")
        for line in PROJECT["project"]["dependencies"]
        if line.startswith("PySide6-Essentials")
    )
    expected = old if sys.version_info < (3, 12) else new
    assert f'"PySide6-Essentials{expected}"' in system_libraries.without_pyside()


def test_that_the_command_line_starts_without_qt_and_plotting() -> None:
    code = (
        "import sys, runglass.__main__\n"
        "heavy = {'PySide6', 'pyqtgraph', 'matplotlib', 'statsmodels'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as it is now, so that building writes nothing into it."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    for name in filter(None, tracked.stdout.split("\0")):
        # Of the tests only what setuptools would take by itself: test*.py.
        if (ROOT / name).is_file() and (not name.startswith("tests/") or name.endswith(".py")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # What a checkout in use holds besides.
    cache = source / "resources" / "demo" / "__pycache__"
    cache.mkdir()
    (cache / "make_demo.cpython-311.pyc").write_bytes(b"")
    return source


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive of the repository."""
    folder = tmp_path_factory.mktemp("sdist")
    run_build([sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(source)])
    return next(folder.glob("runglass-*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the repository."""
    return built_wheel(source, tmp_path_factory.mktemp("wheel"))


def built_wheel(source: Path, folder: Path, **variables: str) -> Path:
    run_build([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(source)], **variables)
    return next(folder.glob("runglass*.whl"))


def run_build(command: list[str], **variables: str) -> None:
    built = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds the wheel; dependencies are borrowed by `clean`."""
    return environment_with(tmp_path_factory.mktemp("environment"), wheel)


def environment_with(folder: Path, *wheels: Path) -> Path:
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    target = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target.stdout.strip())
    return python


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, object]:
    """How to run it: from an empty folder, the dependencies from this environment without its editable install.

    A folder on PYTHONPATH is searched without its ``.pth`` files, and those are what makes an install editable.
    """
    import numpy

    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PYTHONPATH"] = str(Path(numpy.__file__).parents[1])
    return {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": False}


def shipped(source: Path) -> set[str]:
    """Every file of the packages, relative to the repository."""
    modules = {path for top in HOUSE for path in (source / top).rglob("*.py")}
    modules |= {source / "__init__.py", source / "__main__.py", source / "py.typed"}
    resources = {
        path
        for folder in ("icons", "desktop", "themes", "styles", "templates", "report", "thumbnails", "guide", "demo")
        for path in (source / "resources" / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {path.relative_to(source).as_posix() for path in modules | resources}


def test_that_the_wheel_holds_every_file_of_the_packages_and_no_others(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    expected = {f"runglass/{name}" for name in shipped(source)}
    assert expected - held == set()
    others = {name for name in held - expected if ".dist-info/" not in name}
    assert {name for name in others if not name.startswith(KERNELS)} == set()
    assert not any(name.endswith(".c") for name in others)


def test_that_the_sdist_holds_every_file_of_the_packages_and_no_tests(sdist: Path, source: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
    expected = shipped(source) | SOURCES
    assert expected - held == set()
    assert {"pyproject.toml", "README.md", "LICENSE"} <= held
    others = {name for name in held - expected if not name.startswith("runglass.egg-info/")}
    assert others <= {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "setup.cfg"}


def test_that_the_sdist_names_no_folder_of_the_machine_it_was_built_on(sdist: Path, source: Path) -> None:
    folders = [str(folder).encode() for folder in (ROOT, source, Path(sys.prefix))]
    with tarfile.open(sdist) as archive:
        contents = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
    told = {name for name, content in contents.items() if any(folder in content for folder in folders)}
    assert told == set()


def test_that_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    def contents(path: Path) -> dict[str, int]:
        with zipfile.ZipFile(path) as archive:
            return {one.filename: one.CRC for one in archive.infolist()}

    assert contents(built_wheel(sdist, tmp_path)) == contents(wheel)


def test_that_a_wheel_made_without_a_compiler_holds_all_but_the_compiled_kernels(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    def names(path: Path) -> set[str]:
        with zipfile.ZipFile(path) as archive:
            return {name for name in archive.namelist() if not name.startswith(KERNELS)}

    plain = built_wheel(sdist, tmp_path, CC="false")
    with zipfile.ZipFile(plain) as archive:
        assert not any(name.startswith(KERNELS) for name in archive.namelist())
    assert names(plain) == names(wheel)


def test_that_one_wheel_serves_every_python_from_the_oldest_on(wheel: Path) -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=").replace(".", "")
    assert wheel.name.split("-")[2:4] == [f"cp{oldest}", "abi3"]


def test_that_the_installed_app_says_its_version_in_an_empty_folder(python: Path, clean: dict[str, object]) -> None:
    answer = subprocess.run([python, "-m", "runglass", "--version"], **clean)
    assert answer.returncode == 0, answer.stderr
    assert runglass.__version__ in answer.stdout


def test_that_every_module_of_the_models_and_analyses_imports_where_it_is_installed(
    python: Path, clean: dict[str, object]
) -> None:
    code = (
        "import importlib, pkgutil, runglass\n"
        "assert 'site-packages' in runglass.__file__, runglass.__file__\n"
        "names = [m.name for m in pkgutil.walk_packages(runglass.__path__, 'runglass.')]\n"
        "wanted = [n for n in names if n.split('.')[1] in ('resources', 'models', 'analysis')]\n"
        "assert wanted\n"
        "for name in wanted: importlib.import_module(name)\n"
    )
    answer = subprocess.run([python, "-c", code], **clean)
    assert answer.returncode == 0, answer.stderr


def test_that_the_example_plug_in_passes_its_own_tests_beside_the_wheel(
    wheel: Path, clean: dict[str, object], tmp_path: Path
) -> None:
    source = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    python = environment_with(tmp_path / "environment", wheel, built_wheel(source, tmp_path))
    words = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", source / "tests"]
    answer = subprocess.run(words, **clean | {"cwd": source / "tests"})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "skipped" not in answer.stdout
