import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from runglass.models import mirror as mirrors
from runglass.models import mirror_cache
from runglass.models.address import is_address, local_path, protocol_of, sentence, without_password
from runglass.models.errors import Cancelled, ReadError
from runglass.models.inspection import inspected
from runglass.models.loader import Loader, load
from runglass.models.mirror import Mirror, local_name, mirror_of
from runglass.models.progress import CancellableProgress
from runglass.models.store import RunStore

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """An empty file system in memory, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror_cache, "cache_folder", lambda: tmp_path / "cache")
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None, int | None]]:
    """Every part of a file that is asked for: name, first byte, end."""
    asked: list[tuple[str, int | None, int | None]] = []
    original = MemoryFileSystem.cat_file

    def cat_file(self: Any, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        asked.append((path.rpartition("/")[2], start, end))
        return original(self, path, start=start, end=end, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    return asked


def log(steps: range, loss: float = 1.0) -> bytes:
    return b"step,loss\n" + b"".join(b"%d,%.6f\n" % (step, loss / (step + 1)) for step in steps)


def follow(loader: Loader, store: RunStore) -> RunStore:
    """Read on as if the pause between two looks were over."""
    for mirror in loader._discovery._mirrors.values():
        mirror.look_anew()
    for events in loader.new_events():
        store = store.adding(events)
    return store


def test_that_what_lies_elsewhere_reads_as_it_does_here(elsewhere: MemoryFileSystem) -> None:
    for path in DATA.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            elsewhere.pipe_file(f"/bucket/data/{path.relative_to(DATA).as_posix()}", path.read_bytes())
    assert inspected(load(["memory://bucket/data"])) == inspected(load([DATA]))


def test_that_only_what_a_reader_takes_is_brought(elsewhere: MemoryFileSystem, brought: list[Any]) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(20_000)))
    elsewhere.pipe_file("/runs/a/model.safetensors", bytes(1 << 20))
    elsewhere.pipe_file("/runs/a/sample.png", bytes(1 << 20))
    elsewhere.pipe_file("/runs/a/tokenizer.json", b'{"vocab": {' + b" " * (1 << 20) + b"}}")
    assert len(load(["memory://runs"]).runs["runs/a"].curves["loss"]) == 20_000
    sizes = {name: sum(end - start for one, start, end in brought if one == name) for name in {b[0] for b in brought}}
    assert sizes == {"metrics.csv": len(log(range(20_000))), "tokenizer.json": 64 << 10}


def test_that_only_new_bytes_of_a_file_that_grew_are_brought(elsewhere: MemoryFileSystem, brought: list[Any]) -> None:
    before, after = log(range(20_000)), log(range(20_100))
    elsewhere.pipe_file("/runs/a/metrics.csv", before)
    loader = Loader(["memory://runs"])
    store = follow(loader, RunStore())
    brought.clear()
    elsewhere.pipe_file("/runs/a/metrics.csv", after)
    store = follow(loader, store)
    assert store.runs["runs/a"].curves["loss"].step[-1] == 20_099
    assert ("metrics.csv", len(before), len(after)) in brought
    assert sum(end - start for _, start, end in brought) < len(after) - len(before) + 4096
    brought.clear()
    assert follow(loader, store) is store
    assert brought == []


def test_that_a_file_that_was_replaced_is_read_anew(elsewhere: MemoryFileSystem) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(500)))
    loader = Loader(["memory://runs"])
    store = follow(loader, RunStore())
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(600), loss=2.0))
    store = follow(loader, store)
    assert store.runs["runs/a"].curves["loss"].value[0] == 2.0
    assert len(store.runs["runs/a"].curves["loss"]) == 600


def test_that_a_file_that_was_replaced_by_a_longer_one_with_the_same_beginning_is_read_anew(
    elsewhere: MemoryFileSystem,
) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(400)) + b"400,7.5\n")
    loader = Loader(["memory://runs"])
    follow(loader, RunStore())
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(600)))
    follow(loader, RunStore())
    mirror = loader._discovery._mirrors["memory://runs"]
    assert (mirror.folder / "a/metrics.csv").read_bytes() == log(range(600))


def test_that_a_database_is_brought_as_a_whole_whenever_it_changed(elsewhere: MemoryFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    for rows in (1, 5_000):
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE IF NOT EXISTS t (x)")
            database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(rows)])
        database.close()
        elsewhere.pipe_file("/runs/mlflow.db", path.read_bytes())
        mirror = mirror_of("memory://runs")
        mirror.look_anew()
        assert mirror.refresh() == ()
        mirror.fetch([mirror.folder / "mlflow.db"])
        assert (mirror.folder / "mlflow.db").read_bytes() == path.read_bytes()


def test_that_a_file_that_has_gone_is_said_to_be_gone(elsewhere: MemoryFileSystem) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(5)))
    elsewhere.pipe_file("/runs/b/metrics.csv", log(range(5)))
    loader = Loader(["memory://runs"])
    store = follow(loader, RunStore())
    elsewhere.rm_file("/runs/a/metrics.csv")
    store = follow(loader, store)
    assert [(problem.run, problem.what) for problem in store.problems] == [
        ("runs/a", "It is gone from the disk; what was read of it is still shown.")
    ]
    assert list(store.runs) == ["runs/a", "runs/b"]


def test_that_a_connection_that_breaks_is_said_while_it_is_broken_and_takes_nothing_away(
    elsewhere: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(5)))
    loader = Loader(["memory://runs"])
    store = follow(loader, RunStore())

    def broken(*_: Any, **__: Any) -> Any:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", broken)
        store = follow(loader, store)
    assert [(problem.source, problem.what) for problem in store.problems] == [
        ("memory://runs", "It cannot be reached: check the address and the network.")
    ]
    assert len(store.runs["runs/a"].curves["loss"]) == 5
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(8)))
    store = follow(loader, store)
    assert store.problems == ()
    assert len(store.runs["runs/a"].curves["loss"]) == 8


def test_that_a_file_that_could_not_be_had_is_tried_again(
    elsewhere: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(20_000)))
    elsewhere.pipe_file("/runs/b/metrics.csv", log(range(5)))
    loader = Loader(["memory://runs"])
    original = MemoryFileSystem.cat_file

    def partly(self: Any, path: str, start: int = 0, end: int = 0, **options: Any) -> bytes:
        if start > 0:
            raise PermissionError(path)
        return original(self, path, start=start, end=end, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "cat_file", partly)
        store = follow(loader, RunStore())
    assert [(problem.source, problem.what.partition(":")[0]) for problem in store.problems] == [
        ("runs/a/metrics.csv", "Access is denied")
    ]
    store = follow(loader, store)
    assert store.problems == ()
    assert len(store.runs["runs/a"].curves["loss"]) == 20_000


def test_that_a_pattern_opens_what_matches(elsewhere: MemoryFileSystem) -> None:
    for name in ("a", "b"):
        elsewhere.pipe_file(f"/lab/runs/{name}/metrics.csv", log(range(5)))
        elsewhere.pipe_file(f"/lab/runs/{name}/other.csv", log(range(5)))
    assert list(load(["memory://lab/runs/*/metrics.csv"]).runs) == ["runs/a", "runs/b"]
    assert list(load(["memory://lab/runs/[b]*"]).runs) == ["runs/b/metrics", "runs/b/other"]
    assert load(["memory://lab/runs/*/none.csv"]).problems[0].what == "There is no such file, folder or bucket."


def test_that_a_file_is_called_as_where_it_lies_here(elsewhere: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "lab/runs").mkdir(parents=True)
    for name in ("one.csv", "two.csv"):
        (tmp_path / "lab/runs" / name).write_bytes(log(range(5)))
        elsewhere.pipe_file(f"/lab/runs/{name}", log(range(5)))
    assert list(load(["memory://lab/runs/one.csv"]).runs) == ["runs"]
    assert list(load([tmp_path / "lab/runs/one.csv"]).runs) == ["runs"]
    assert list(load(["memory://lab/runs/one.csv", "memory://lab/runs/two.csv"]).runs) == ["runs", "runs/two"]


def test_that_folders_of_the_same_name_are_told_apart(elsewhere: MemoryFileSystem) -> None:
    for project in ("mine", "yours"):
        elsewhere.pipe_file(f"/{project}/runs/metrics.csv", log(range(5)))
    assert list(load(["memory://mine/runs", "memory://yours/runs"]).runs) == ["runs", "yours/runs"]


def test_that_provenance_names_addresses(elsewhere: MemoryFileSystem) -> None:
    elsewhere.pipe_file("/lab/runs/a/metrics.csv", log(range(5)))
    loader = Loader(["memory://lab/runs"])
    follow(loader, RunStore())
    assert [(path, size) for path, size, _ in loader.files()] == [
        ("memory://lab/runs/a/metrics.csv", len(log(range(5))))
    ]


def test_that_a_large_file_stays_where_it_is_and_is_said_to(
    elsewhere: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, brought: list[Any]
) -> None:
    monkeypatch.setattr(mirrors, "LARGEST_BYTES", 100_000)
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(20_000)))
    elsewhere.pipe_file("/runs/b/metrics.csv", log(range(5)))
    store = load(["memory://runs"])
    assert [run for run, found in store.runs.items() if found.curves] == ["runs/b"]
    assert store.problems[0].what.startswith("It has 0.0 GiB; files elsewhere are brought up to 0.0 GiB.")
    assert sum(end - start for _, start, end in brought) < 70_000


def test_that_what_was_brought_is_kept_for_the_next_time(elsewhere: MemoryFileSystem, brought: list[Any]) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(20_000)))
    for _ in range(2):
        mirror = Mirror("memory://runs", home=mirror_cache.cache_folder())
        assert mirror.refresh() == ()
        mirror.fetch([mirror.folder / "a/metrics.csv"])
        mirror.close()
    assert [one for one in brought if one[1] == 0] == [("metrics.csv", 0, len(log(range(20_000))))]


def test_that_two_programs_do_not_share_a_mirror(elsewhere: MemoryFileSystem, tmp_path: Path) -> None:
    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(5)))
    first = Mirror("memory://runs", home=tmp_path / "m")
    second = Mirror("memory://runs", home=tmp_path / "m")
    assert first.folder != second.folder
    assert second.refresh() == ()
    second.close()
    first.close()
    assert first.folder.is_dir()
    assert not second.folder.exists()


def test_that_mirrors_used_longest_ago_go_first(
    elsewhere: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_cache, "KEPT_BYTES", 1_500)
    folders = []
    for age, name in ((300, "a"), (100, "b"), (200, "c")):
        elsewhere.pipe_file(f"/{name}/metrics.csv", bytes(1_000))
        mirror = Mirror(f"memory://{name}", home=tmp_path / "m")
        mirror.refresh()
        mirror.fetch([mirror.folder / "metrics.csv"])
        mirror.close()
        home = mirror.folder.parent.parent
        os.utime(home, (home.stat().st_mtime - age,) * 2)
        folders.append(mirror.folder)
        kept = [folder.name for folder in folders if folder.exists()]
    elsewhere.pipe_file("/d/metrics.csv", b"x")
    Mirror("memory://d", home=tmp_path / "m").close()
    kept = [folder.name for folder in folders if folder.exists()]
    assert kept == ["b"]


def test_that_a_mirror_that_is_in_use_does_not_go(
    elsewhere: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_cache, "KEPT_BYTES", 1_500)
    mirrors = []
    for age, name in ((300, "a"), (200, "b"), (100, "c")):
        elsewhere.pipe_file(f"/{name}/metrics.csv", bytes(1_000))
        mirror = Mirror(f"memory://{name}", home=tmp_path / "m")
        mirror.refresh()
        mirror.fetch([mirror.folder / "metrics.csv"])
        home = mirror.folder.parent.parent
        os.utime(home, (home.stat().st_mtime - age,) * 2)
        mirrors.append(mirror)
    mirrors[1].close()
    Mirror("memory://d", home=tmp_path / "m").close()
    assert [mirror.folder.exists() for mirror in mirrors] == [True, False, True]
    mirrors[0].close()
    mirrors[2].close()


def test_that_the_mirror_that_is_opened_is_not_the_one_that_goes(
    elsewhere: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_cache, "KEPT_BYTES", 10)
    elsewhere.pipe_file("/a/metrics.csv", bytes(1_000))
    for _ in range(2):
        mirror = Mirror("memory://a", home=tmp_path / "m")
        mirror.refresh()
        mirror.fetch([mirror.folder / "metrics.csv"])
        mirror.close()
        assert (mirror.folder / "metrics.csv").exists()


@pytest.mark.parametrize(("text", "value"), [("512", 512 << 20), ("", 7 << 20), ("many", 7 << 20), ("-1", 7 << 20)])
def test_that_the_environment_sets_limits_in_mebibytes(text: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNGLASS_REMOTE_FILE_MIB", text)
    assert mirror_cache.set_bytes("RUNGLASS_REMOTE_FILE_MIB", 7) == value


def test_that_a_listing_stops_when_it_is_cancelled(
    elsewhere: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    elsewhere.pipe_file("/runs/a/metrics.csv", log(range(5)))
    go_on = threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "find", lambda *_, **__: go_on.wait(20))
    progress = CancellableProgress()
    threading.Timer(0.2, progress.cancel).start()
    with pytest.raises(Cancelled):
        load(["memory://runs"], progress=progress)
    go_on.set()


@pytest.mark.parametrize("name", ["", "..", "../evil", "a/../../evil", "/etc/passwd", "a//b", "a/./b", "a\0b", "a/"])
def test_that_a_name_that_could_lead_out_is_refused(name: str) -> None:
    assert local_name(name) == ""


@pytest.mark.parametrize("name", ["a", "a b/c.csv", "…/ü", "..a/b..", "a:b", "~", "$HOME"])
def test_that_other_names_stay(name: str) -> None:
    assert local_name(name) == name


@pytest.mark.parametrize(
    ("name", "there"),
    [("a:b/c?.csv", "a%3Ab/c%3F.csv"), ("CON.txt", "%43ON.txt"), ("end.", "end%2E"), ("a\\..\\b", "a%5C..%5Cb")],
)
def test_that_names_windows_has_not_are_spelled_out(name: str, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert local_name(name) == there


def test_that_a_file_and_a_folder_of_one_name_are_said(elsewhere: MemoryFileSystem) -> None:
    # Object stores have no folders, so a key may be the beginning of another one.
    mirror = mirror_of("memory://runs")
    one = mirrors._Remote("/runs/a", 1, "", 0)
    problems = mirror._laid_out({"a": one, "a/b": one, "c": one})
    assert [problem.source for problem in problems] == ["memory://runs/a/b"]
    assert sorted(path.name for path in mirror.folder.iterdir()) == ["a", "c"]


@pytest.mark.parametrize(
    ("protocol", "package", "said"),
    [
        ("s3", "s3fs", "pip install 'runglass[s3]'"),
        ("gs", "gcsfs", "pip install 'runglass[gs]'"),
        ("az", "adlfs", "pip install 'runglass[azure]'"),
        ("hf", "huggingface_hub", "pip install 'runglass[hf]'"),
        ("https", "aiohttp", "pip install 'runglass[http]'"),
        ("oci", "ocifs", "Install ocifs to access OCI Object Storage"),
    ],
)
def test_that_a_missing_package_is_named(
    elsewhere: MemoryFileSystem, protocol: str, package: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.registry import _registry

    monkeypatch.delitem(_registry, protocol, raising=False)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    problems = load([f"{protocol}://lab/runs"]).problems
    assert [problem.source for problem in problems] == [f"{protocol}://lab/runs"]
    assert problems[0].what.startswith(f"Nothing that is installed opens {protocol}:// addresses.")
    assert said in problems[0].what


def test_that_sftp_wants_the_package_that_checks_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    from runglass.models.address import file_system

    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda _: MemoryFileSystem)
    with pytest.raises(ReadError, match=r"pip install 'runglass\[sftp\]'"):
        file_system("sftp://host/runs")


def test_that_an_unknown_protocol_is_said(elsewhere: MemoryFileSystem) -> None:
    assert [problem.what for problem in load(["gopher://lab/runs"]).problems] == [
        "There is no protocol gopher://; s3, gs, sftp, hf and https are some."
    ]


def test_that_a_file_address_is_a_path_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "my runs").mkdir()
    (tmp_path / "my runs/metrics.csv").write_bytes(log(range(5)))
    assert list(load([(tmp_path / "my runs").as_uri()]).runs) == ["my runs"]
    assert local_path("file:///C:/runs") == "C:/runs"
    assert local_path("s3://bucket/runs") is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sftp://ada:se:cret@host/runs", "sftp://ada@host/runs"),
        ("sftp://ada@host/runs", "sftp://ada@host/runs"),
        ("zip://a.csv::sftp://ada:secret@host/a.zip", "zip://a.csv::sftp://ada@host/a.zip"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
    ],
)
def test_that_passwords_are_not_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_that_addresses_are_told_from_paths() -> None:
    assert is_address("s3://bucket/runs")
    assert not is_address("C:/runs")
    assert protocol_of("zip://a::S3://bucket/a.zip") == "s3"


def test_that_an_error_nobody_knows_is_said_in_its_words() -> None:
    assert sentence(ValueError("odd.\nmore")) == "It cannot be read (ValueError: odd)."
    assert sentence(ValueError()) == "It cannot be read (ValueError)."


def test_that_nothing_of_the_network_is_loaded_for_what_lies_here(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(log(range(5)))
    code = (
        "import sys; from runglass.models.loader import load; load([sys.argv[1]]); "
        "print(sorted({'fsspec', 'aiohttp', 's3fs', 'asyncssh', 'filelock'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
