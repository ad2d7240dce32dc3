from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.stable_baselines import StableBaselinesReader
from runglass.models.store import RunStore
from runglass.models.tables import Forgotten, Problem, Run


def monitor(path: Path, start: float | None, *rows: tuple[float, ...], columns: str = "r,l,t") -> Path:
    header = json.dumps({"t_start": start, "env_id": "Pole-v1"})
    path.write_text(f"#{header}\n{columns}\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def read(folder: Path, cursor: Cursor | None = None) -> list[Any]:
    paths = tuple(sorted(path for path in folder.iterdir() if path.is_file()))
    return list(StableBaselinesReader().read(Source(paths, "run", "run", "stable baselines"), cursor, quiet))


def run_of(events: list[Any]) -> Run:
    return RunStore().adding(event for event in events if not isinstance(event, Cursor)).runs["run"]


def problems_of(events: list[Any]) -> dict[str, str]:
    return {event.source: event.what for event in events if isinstance(event, Problem)}


@pytest.mark.parametrize(
    ("environment", "reward"), [("CartPole-v1", 500.0), ("Acrobot-v1", -76.4), ("LunarLander-v2", 249.814)]
)
def test_that_the_published_agents_end_at_their_rewards(shared_data: Path, environment: str, reward: float) -> None:
    (run,) = load([shared_data / f"runs/sb3/ppo/{environment}_1"]).runs.values()
    assert run.curves["eval/mean_reward"].value[-1] == pytest.approx(reward, abs=0.01)
    assert run.config["policy"] == "MlpPolicy"
    assert run.config["n_timesteps"] > 0
    assert isinstance(run.config["seed"], int)


def test_that_every_episode_of_every_environment_is_read(shared_data: Path) -> None:
    folder = shared_data / "runs/sb3/ppo/LunarLander-v2_1"
    lines = sum(path.read_text().count("\n") - 2 for path in folder.glob("*.monitor.csv"))
    (run,) = load([folder]).runs.values()
    curve = run.curves["episode/reward"]
    assert len(curve) == lines
    assert curve.step[-1] == run.curves["episode/length"].value.sum()
    assert (np.diff(curve.wall_time) >= 0).all()


def test_that_parallel_environments_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    monitor(tmp_path / "0.monitor.csv", 100.0, (1, 10, 1.0), (3, 10, 5.0))
    monitor(tmp_path / "1.monitor.csv", 102.0, (2, 7, 1.0), (4, 7, 4.0))
    run = run_of(read(tmp_path))
    curve = run.curves["episode/reward"]
    np.testing.assert_array_equal(curve.value, [1, 2, 3, 4])
    np.testing.assert_array_equal(curve.step, [10, 17, 27, 34])
    np.testing.assert_array_equal(curve.wall_time, [101, 103, 105, 106])
    assert run.config == {"env": "Pole-v1"}


def test_that_other_columns_of_a_monitor_are_curves_too(tmp_path: Path) -> None:
    monitor(tmp_path / "monitor.csv", None, (1, 10, 1.0, 0.5), (2, 10, 2.0, 1.0), columns="r,l,t,is_success")
    curve = run_of(read(tmp_path)).curves["episode/is_success"]
    np.testing.assert_array_equal(curve.value, [0.5, 1.0])
    assert curve.wall_time is None


def test_that_evaluations_are_means_and_deviations_over_episodes(tmp_path: Path) -> None:
    results = np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    lengths = np.array([[10, 20, 30], [5, 5, 5]])
    np.savez(tmp_path / "evaluations.npz", timesteps=[100, 200], results=results, ep_lengths=lengths)
    curves = run_of(read(tmp_path)).curves
    np.testing.assert_array_equal(curves["eval/mean_reward"].step, [100, 200])
    np.testing.assert_array_equal(curves["eval/mean_reward"].value, [3, 4])
    np.testing.assert_allclose(curves["eval/sd_reward"].value, [np.sqrt(7), 0])
    np.testing.assert_array_equal(curves["eval/mean_ep_length"].value, [20, 5])


def test_that_pickled_results_are_refused(tmp_path: Path) -> None:
    ragged = np.array([np.ones(2), np.ones(3)], dtype=object)
    np.savez(tmp_path / "evaluations.npz", timesteps=[1, 2], results=ragged)
    monitor(tmp_path / "monitor.csv", 0.0, (1, 10, 1.0))
    events = read(tmp_path)
    assert "never unpickled" in problems_of(events)["run/evaluations.npz"]
    assert set(run_of(events).curves) == {"episode/reward", "episode/length"}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("monitor.csv", b"", "It is empty"),
        ("monitor.csv", b"r,l,t\n1,2,3\n", "no monitor"),
        ("monitor.csv", b"#{broken\nr,l,t\n", "no monitor"),
        ("monitor.csv", b"#{}\na,b,c\n1,2,3\n", "no columns r, l and t"),
        ("monitor.csv", b'#{"t_start": 0}\nr,l,t\n1,2,3\nx,y,z\n\xff\xfe\n1,2,3\n', "2 lines are no episodes"),
        ("evaluations.npz", b"", "It is empty"),
        ("evaluations.npz", b"PK\x03\x04 not a zip", "no archive"),
    ],
)
def test_that_a_damaged_file_is_named_and_the_others_are_read(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    monitor(tmp_path / "0.monitor.csv", 0.0, (1, 10, 1.0))
    (tmp_path / name).write_bytes(content)
    events = read(tmp_path)
    assert what in problems_of(events)[f"run/{name}"]
    assert len(problems_of(events)) == 1
    assert len(run_of(events).curves["episode/reward"]) >= 1


def test_that_new_episodes_are_merged_with_known_ones(tmp_path: Path) -> None:
    monitor(tmp_path / "0.monitor.csv", 0.0, (1, 10, 5.0))
    first = read(tmp_path)
    assert read(tmp_path, first[-1]) == [first[-1]]
    monitor(tmp_path / "1.monitor.csv", 0.0, (2, 3, 4.0))
    more = read(tmp_path, first[-1])
    assert isinstance(more[0], Forgotten)
    np.testing.assert_array_equal(run_of(first + more).curves["episode/reward"].value, [2, 1])


def test_that_an_episode_being_written_waits(tmp_path: Path) -> None:
    path = monitor(tmp_path / "monitor.csv", 0.0, (1, 10, 5.0))
    with path.open("a") as file:
        file.write("2,1")
    events = read(tmp_path)
    assert problems_of(events) == {}
    assert len(run_of(events).curves["episode/reward"]) == 1


def test_that_settings_make_no_objects(tmp_path: Path) -> None:
    monitor(tmp_path / "monitor.csv", 0.0, (1, 10, 5.0))
    (tmp_path / "Pole-v1").mkdir()
    (tmp_path / "Pole-v1/args.yml").write_text("!!python/object/apply:os.system ['touch " + str(tmp_path / "x") + "']")
    pairs = "!!python/object/apply:collections.OrderedDict\n- - - gamma\n    - 0.9\n  - - net\n    - [64, 64]\n"
    (tmp_path / "Pole-v1/config.yml").write_text(pairs)
    assert run_of(read(tmp_path)).config == {"env": "Pole-v1", "gamma": 0.9}
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "head", "match"),
    [
        ("0.monitor.csv", b'#{"t_start": 1}\nr,l,t\n', Match.YES),
        ("monitor.csv", b"", Match.YES),
        ("monitor.csv", b"step,loss\n", Match.NO),
        ("progress.csv", b"#{}\n", Match.NO),
        ("evaluations.npz", b"PK\x03\x04....timesteps.npy", Match.YES),
        ("evaluations.npz", b"PK\x03\x04....logits.npy", Match.NO),
    ],
)
def test_that_files_are_known_by_name_and_first_bytes(tmp_path: Path, name: str, head: bytes, match: Match) -> None:
    (tmp_path / name).write_bytes(head)
    assert StableBaselinesReader().match(Entry(tmp_path / name, name)) is match


def evaluations(folder: Path, **arrays: np.ndarray) -> list[Any]:
    np.savez(folder / "evaluations.npz", **arrays)
    return read(folder)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"results": np.ones((3, 2))}, "no archive of arrays"),
        ({"timesteps": np.ones((3, 1)), "results": np.ones((3, 2))}, "timesteps are no list of numbers"),
        ({"timesteps": np.array(["a", "b"]), "results": np.ones((2, 2))}, "timesteps are no list of numbers"),
        ({"timesteps": np.arange(3), "results": np.ones((2, 2))}, "no results that fit"),
        ({"timesteps": np.arange(3), "results": np.full((3, 1), "a")}, "no results that fit"),
        ({"timesteps": np.arange(3), "results": np.ones((3, 0))}, "no results that fit"),
        ({"timesteps": np.arange(3)}, "no results that fit"),
    ],
)
def test_that_evaluations_that_do_not_fit_are_a_problem(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    assert said in problems_of(evaluations(tmp_path, **arrays))["run/evaluations.npz"]


def test_that_arrays_that_fit_are_read_beside_one_that_does_not(tmp_path: Path) -> None:
    run = run_of(
        evaluations(
            tmp_path, timesteps=np.array([10.5, 20.5]), results=np.array([[1, 3], [2, 6]]), ep_lengths=np.ones((5, 2)),
            successes=np.array([[True, False], [True, True]]),
        )
    )  # fmt: skip
    assert {tag: curve.value.tolist() for tag, curve in run.curves.items()} == {
        "eval/mean_reward": [2.0, 4.0],
        "eval/sd_reward": pytest.approx([2**0.5, 8**0.5]),
        "eval/success_rate": [0.5, 1.0],
    }
    assert run.curves["eval/mean_reward"].step.tolist() == [10.5, 20.5]


def test_that_evaluations_larger_than_memory_should_hold_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runglass.models.readers.stable_baselines.MOST_BYTES", 300)
    said = problems_of(evaluations(tmp_path, timesteps=np.arange(90), results=np.ones((90, 2))))
    assert "too large" in said["run/evaluations.npz"]


def test_that_a_file_that_is_gone_costs_only_itself(tmp_path: Path) -> None:
    monitor(tmp_path / "0.monitor.csv", 100.0, (1, 10, 1.0), (3, 10, 5.0))
    paths = (tmp_path / "0.monitor.csv", tmp_path / "1.monitor.csv")
    events = list(StableBaselinesReader().read(Source(paths, "run", "run", "stable baselines"), None, quiet))
    assert problems_of(events) == {"run/1.monitor.csv": "It cannot be read: No such file or directory."}
    assert run_of(events).curves["episode/reward"].value.tolist() == [1, 3]


def test_that_a_folder_called_like_a_monitor_is_none(tmp_path: Path) -> None:
    (tmp_path / "monitor.csv").mkdir()
    assert StableBaselinesReader().match(Entry(tmp_path / "monitor.csv", "monitor.csv", is_folder=True)) is Match.NO


@pytest.mark.parametrize("environment", ["..", ".", "a/b", "a\\b", ""])
def test_that_the_name_of_an_environment_leads_to_no_other_folder(tmp_path: Path, environment: str) -> None:
    (tmp_path / "run").mkdir()
    for folder in (tmp_path, tmp_path / "run", tmp_path / "run" / "a" / "b"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "args.yml").write_text("secret: 1\n")
    header = json.dumps({"t_start": 1.0, "env_id": environment})
    (tmp_path / "run" / "monitor.csv").write_text(f"#{header}\nr,l,t\n1,2,3\n2,3,4\n")
    events = list(
        StableBaselinesReader().read(
            Source((tmp_path / "run" / "monitor.csv",), "run", "run", "stable baselines"), None, quiet
        )
    )
    assert "secret" not in run_of(events).config
