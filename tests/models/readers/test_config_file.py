"""Configuration files: what is kept of them, and that nothing in them is ever run."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runglass.models.configuration import flattened, yaml_value
from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.progress import quiet
from runglass.models.readers.base import Entry, Match, Source
from runglass.models.readers.config_file import ConfigFileReader, run_folder
from runglass.models.tables import FolderConfig

READER = ConfigFileReader()


def config(path: Path, run: str = "run") -> dict[str, object]:
    events = list(READER.read(Source((path,), path.name, run, READER.name), None, quiet))
    return {key: value for event in events if isinstance(event, FolderConfig) for key, value in event.config.items()}


def written(folder: Path, text: str | bytes, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "hparams.yaml",
        "config.yml",
        "config.json",
        "params.json",
        "args.yaml",
        "args.yml",
        "flags_0.json",
        "meta_data_0.json",
        "hyperparams.yml",
    ],
)
def test_that_configurations_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    assert READER.match(Entry(tmp_path / name, name)) is Match.YES


@pytest.mark.parametrize("name", ["tokenizer_config.json", "trainer_state.json", "metrics.yaml", "config.py"])
def test_that_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    assert READER.match(Entry(tmp_path / name, name)) is Match.NO


def test_that_nested_keys_are_joined_by_dots_and_lists_are_text(tmp_path: Path) -> None:
    text = (
        "optim:\n  lr: 1e-4\n  betas: [0.9, 0.95]\nseed: 3\nname: 'no'\namp: yes\nnote: ~\nlayers: 1_000\nmin: -.inf\n"
    )
    assert config(written(tmp_path, text)) == {
        "optim.lr": 1e-4,
        "optim.betas": "[0.9, 0.95]",
        "seed": 3,
        "name": "no",
        "amp": True,
        "note": None,
        "layers": 1000,
        "min": -math.inf,
    }


def test_that_values_wrapped_by_a_logger_are_unwrapped(tmp_path: Path) -> None:
    text = "_wandb: {value: {cli_version: 1}}\nlr: {desc: null, value: 0.1}\nmodel: {value: {dim: 8}}\n"
    text += "sort: {sort: 1, value: x}\n"
    assert config(written(tmp_path, text)) == {"lr": 0.1, "model.dim": 8, "sort": "x"}


def test_that_json_with_nan_is_read(tmp_path: Path) -> None:
    found = config(written(tmp_path, '{"a": {"b": NaN}, "c": [1, {"d": null}]}', "params.json"))
    assert math.isnan(found["a.b"])  # type: ignore[arg-type]
    assert found["c"] == "[1, {d: null}]"


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n", "3", "{}"])
def test_that_what_is_no_mapping_gives_nothing(tmp_path: Path, text: str) -> None:
    assert config(written(tmp_path, text)) == {}


@pytest.mark.parametrize(
    ("folder", "run"),
    [
        ("runs/a/.hydra", "runs/a"),
        ("ppo/CartPole-v1_1/CartPole-v1", "ppo/CartPole-v1_1"),
        ("runs/a", "runs/a"),
        ("a", "a"),
    ],
)
def test_that_a_configuration_describes_the_folder_of_its_run(folder: str, run: str) -> None:
    assert run_folder(folder) == run


def test_that_python_tags_construct_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    text = (
        f"a: !!python/object/apply:os.system ['touch {proof}']\n"
        f"b: !!python/object/new:pathlib.Path [x, y]\n"
        "c: !!python/name:torch.nn.functional.relu ''\n"
        "d: !!python/tuple [1, 2]\n"
        "e: !!python/object:model.Config {dim: 8}\n"
        "f: !custom text\n"
    )
    found = config(written(tmp_path, text))
    assert not proof.exists()
    assert found == {
        "a": f"[touch {proof}]",
        "b": "x/y",
        "c": "torch.nn.functional.relu",
        "d": "[1, 2]",
        "e.dim": 8,
        "f": "text",
    }


def test_that_a_later_mapping_wins_over_what_it_merges() -> None:
    text = "base: &base {lr: 1, wd: 2}\nrun:\n  <<: *base\n  lr: 3\n"
    assert flattened(yaml_value(text)) == {"base.lr": 1, "base.wd": 2, "run.wd": 2, "run.lr": 3}


@pytest.mark.parametrize("kind", ["[{0}, {0}]", "{{x: {0}, y: {0}}}", "{{<<: [{0}, {0}], k{1}: 1}}"])
def test_that_aliases_of_aliases_end(tmp_path: Path, kind: str) -> None:
    text = "a0: &a0 {x: 1}\n"
    text += "".join(f"a{n}: &a{n} {kind.format(f'*a{n - 1}', n)}\n" for n in range(1, 60))
    found = config(written(tmp_path, text))
    assert 0 < len(found) <= 5000
    assert all(len(str(value)) <= 500 for value in found.values())


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "a: " + "{b: " * 1000, "a: &a [*a]"])
def test_that_deep_or_endless_yaml_is_refused_or_cut(tmp_path: Path, text: str) -> None:
    with suppress(ReadError):
        assert len(config(written(tmp_path, text))) <= 1


def test_that_deep_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError):
        config(written(tmp_path, '{"a":' * 100_000, "config.json"))


def test_that_a_very_large_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="at most 4 MiB"):
        config(written(tmp_path, b"a: 1\n" * 1_000_000))


def test_that_broken_yaml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="line"):
        config(written(tmp_path, "a: 1\nb: [1, 2\nc: 3\n"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(data=st.binary(max_size=200), name=st.sampled_from(["config.yaml", "config.json"]))
def test_that_garbage_raises_nothing_but_read_errors(tmp_path: Path, data: bytes, name: str) -> None:
    with suppress(ReadError):
        config(written(tmp_path, data, name))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3), st.one_of(st.integers(), st.booleans(), st.none()), max_size=5
    )
)
def test_that_a_flat_configuration_stays_as_it_is(values: dict[str, object]) -> None:
    assert flattened(values) == values


def test_that_ordered_mappings_of_python_are_mappings(shared_data: Path) -> None:
    found = config(shared_data / "runs/sb3/ppo/CartPole-v1_1/CartPole-v1/config.yml")
    assert found["learning_rate"] == "lin_0.001"
    assert found["n_timesteps"] == 100000.0


def test_that_algoperf_says_its_targets(shared_data: Path) -> None:
    found = config(shared_data / "runs/algoperf/baseline/study_0/ogbg_jax/trial_1/meta_data_0.json")
    assert found["workload.validation_target_value"] == 0.28098


# --- Hydra ---

HYDRA = Path(__file__).parents[2] / "data" / "hydra"


def test_that_runs_of_hydra_have_its_configuration() -> None:
    runs = load([HYDRA]).rows("runs").set_index("run")
    assert list(runs.index) == [
        "hydra/multirun/2026-01-02/03-04-05/0",
        "hydra/multirun/2026-01-02/03-04-05/1",
        "hydra/outputs/2026-01-02/03-04-05",
    ]
    assert runs["seed"].tolist() == [1, 2, 0]
    assert runs["peak_lr"].tolist() == [0.001, 0.001, 0.5]
    assert runs["config.note"].tolist()[2] == "first"


def test_that_words_of_the_command_line_are_read_where_hydra_kept_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "run/.hydra").mkdir(parents=True)
    written(tmp_path / "run/.hydra", "- optimizer.lr=0.5\n- +note=first\n- ~data\n- seed=3\n", "overrides.yaml")
    written(tmp_path / "run", "step,loss\n1,2\n2,1\n", "metrics.csv")
    store = load([tmp_path / "run"])
    assert store.config(store.runs["run"]) == {"optimizer.lr": 0.5, "note": "first", "seed": 3}


def test_that_a_value_that_is_another_one_is_that(tmp_path: Path) -> None:
    text = (
        "lr: ${optim.lr}\noptim: {lr: 0.1, base: '${lr}'}\na: ${b}\nb: ${a}\nhome: ${oc.env:HOME}\nlost: ${none.such}\n"
    )
    assert config(written(tmp_path, text)) == {
        "lr": 0.1, "optim.lr": 0.1, "optim.base": 0.1, "a": "${b}", "b": "${a}", "home": "${oc.env:HOME}",
        "lost": "${none.such}",
    }  # fmt: skip


def test_that_flags_of_guild_are_the_configuration_of_its_run(tmp_path: Path) -> None:
    # The layout: guild/run.py, where attributes are files of YAML.
    (tmp_path / "runs/1a2b/.guild/attrs").mkdir(parents=True)
    written(tmp_path / "runs/1a2b/.guild/attrs", "lr: 0.5\nseed: 3\n", "flags")
    written(tmp_path / "runs/1a2b/.guild/attrs", "train\n", "op")
    written(tmp_path / "runs/1a2b", "step,loss\n1,2\n2,1\n", "metrics.csv")
    store = load([tmp_path / "runs"])
    assert list(store.runs) == ["runs/1a2b"]
    assert store.config(store.runs["runs/1a2b"]) == {"lr": 0.5, "seed": 3}


def test_that_pairs_of_an_ordered_mapping_are_one_and_what_is_none_a_list() -> None:
    ordered = "!!python/object/apply:collections.OrderedDict"
    assert yaml_value(f"a: {ordered}\n- - - lr\n    - 1\n  - - 2\n    - x\n") == {"a": {"lr": 1, "2": "x"}}
    assert yaml_value(f"a: {ordered} [1, 2]\n") == {"a": [1, 2]}


def test_that_only_mappings_are_merged() -> None:
    assert yaml_value("a: &a {x: 1}\nb:\n  <<: [*a, 3]\n  y: 2\n")["b"] == {"x": 1, "y": 2}


def test_that_a_configuration_of_more_values_than_any_has_is_refused() -> None:
    with pytest.raises(ReadError, match="more"):
        yaml_value("[" + "1, " * 300_000 + "1]")
