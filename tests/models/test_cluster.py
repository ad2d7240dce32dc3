"""What of a cluster can be known without one; tests/analysis/test_on_a_cluster.py starts one."""

import builtins
import pickle  # noqa: TID251 - what Dask sends errors with
import socket

import pytest

from runglass.models import cluster, errors
from runglass.models.cluster import Cluster, _Carried, _computed, difference, versions
from runglass.models.engine import InProcess, engine_named, in_use, using
from runglass.models.errors import ReadError, RunglassError
from runglass.models.progress import quiet


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("dask://head:9000", "dask://head:9000"),
        ("dask://head", "dask://head:8786"),
        ("dask://10.0.0.1:1/", "dask://10.0.0.1:1"),
        ("dask://[::1]:8786", "dask://[::1]:8786"),
    ],
)
def test_that_an_address_names_a_cluster_without_connecting_to_it(given, name):
    assert engine_named(given).name == name


@pytest.mark.parametrize(
    "given", ["dask://", "dask://:1", "dask://h:port", "dask://h/path", "dask://me@h", "dask://h?x=1"]
)
def test_that_what_is_no_address_of_a_cluster_is_refused(given):
    with pytest.raises(RunglassError, match=r"Write dask://HOST:PORT\."):
        engine_named(given)


def test_that_a_scheduler_that_is_not_there_is_told_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(RunglassError, match=rf"No Dask scheduler answers at dask://127\.0\.0\.1:{port}"):
            Cluster(f"dask://127.0.0.1:{port}").map(abs, [1])


def test_that_a_missing_package_says_what_to_install(monkeypatch):
    there = builtins.__import__

    def without_distributed(name, *arguments, **named):
        if name == "distributed":
            raise ModuleNotFoundError(name)
        return there(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_distributed)
    with pytest.raises(RunglassError, match=r"pip install 'runglass\[dask\]'"):
        Cluster("dask://head:8786").map(abs, [1])


def test_that_a_difference_names_package_and_both_versions_runglass_first():
    ours = {"python": "3.11", "numpy": "2.1", "runglass": "1.0"}
    assert difference(dict(ours), ours) == ""
    assert difference({**ours, "runglass": None}, ours) == "it has no runglass"
    other = {"python": "3.11", "numpy": "2.0", "runglass": "0.9"}
    assert difference(other, ours) == "it has runglass 0.9, here is 1.0, and it has numpy 2.0, here is 2.1"


def test_that_a_worker_refuses_blocks_of_another_version():
    asked = tuple({**versions(), "runglass": "99"}.items())
    with pytest.raises(RunglassError, match=r"cannot be used: it has runglass .*, here is 99"):
        _computed(_Carried(abs, -1, asked), None)
    assert _computed(_Carried(None, -1, tuple(versions().items())), abs) == 1


def test_that_a_file_a_worker_does_not_see_is_told_with_what_to_do(tmp_path):
    carried = _Carried(open, str(tmp_path / "gone"), tuple(versions().items()))
    with pytest.raises(ReadError, match=r"cannot read .*gone.*all workers see them under the same name"):
        _computed(carried, None)


@pytest.mark.parametrize(
    "error",
    [
        errors.TooLittleData(needs="3 seeds", found="1", remedy="Train two more."),
        errors.TooLarge("scores", 7),
        errors.SchemaError("no item", table="predictions", columns=("item",)),
        errors.ExpressionError("odd", text="a b", position=2),
        errors.ReadError("gone", source="a.csv", remedy="Look."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_that_errors_keep_what_they_say_on_the_way_from_a_worker(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_that_work_without_an_engine_of_its_own_runs_on_the_one_in_use():
    other, own = InProcess(), InProcess()
    assert in_use(cluster_free := engine_named("local"), quiet)[0] is cluster_free
    with using(other):
        assert in_use(engine_named("local"), quiet)[0] is other
        assert in_use(own, quiet)[0] is own
    assert in_use(engine_named("local"), quiet)[0] is engine_named("local")


def test_that_what_listens_but_is_no_scheduler_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "_REACHED_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(RunglassError, match="is no Dask scheduler"):
            Cluster(f"dask://127.0.0.1:{port}").look()
