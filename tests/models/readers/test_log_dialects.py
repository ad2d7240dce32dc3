"""Logs of trainers, in the forms their sources and public logs have; the numbers are ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.models.log_dialects import one_line_a_step
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.text_log import TextLogReader
from runglass.models.store import RunStore
from runglass.models.tables import Run

OLMO_CORE = """\
2026-03-01 12:00:01 INFO [olmo_core.train.trainer:734] Training for 300 steps
2026-03-01 12:01:00 INFO [olmo_core.train.callbacks.console_logger:68] [step=100/300,epoch=1,eta=5h11m]
    train/CE loss=6.25
    train/PPL=518.0
    optim/LR (group 0)=0.0003
    throughput/total tokens=4,194,304
    system/Peak GPU Memory (MB)=42,133
2026-03-01 12:01:30 INFO [olmo_core.train.callbacks.console_logger:68] [step=150/300,epoch=1]
2026-03-01 12:03:10 INFO [olmo_core.train.trainer:1003] Saving checkpoint for step 200 to 's3://b/k'...
2026-03-01 12:04:00 INFO [olmo_core.train.callbacks.console_logger:68] [step=200/300,epoch=1,eta=4h58m]
    train/CE loss=5.5
    optim/step skipped=0
2026-03-01 12:05:00 INFO [olmo_core.train.callbacks.evaluator_callback:200] [eval=lm,step=1/5]
2026-03-01 12:05:30 INFO [olmo_core.train.callbacks.evaluator_callback:210] Eval metrics for lm
    lm/c4/CE loss=5.75
"""

OLMO = """\
[2026-03-01 09:42:26] INFO     [olmo.train:816, rank=0] [step=1/739328]
    train/CrossEntropyLoss=11.25
    train/Perplexity=76,880
[2026-03-01 09:42:38] INFO     [olmo.train:816, rank=0] [step=2/739328]
    train/CrossEntropyLoss=10.75
    throughput/device/batches_per_second=0.0869
"""

COMPOSER = """\
2026-03-01 02:05:36,662: rank0[73][MainThread]: INFO: composer.trainer.trainer: Using precision Precision.AMP_FP16
******************************
Config:
composer_version: 0.21.3
rank_zero_seed: 17
******************************
[batch=1/100]:
\t Train time/batch: 0
\t Train loss/train/total: 10.5
\t Train LanguageCrossEntropy: 10.4
\t Train sample/grid: <wandb.sdk.data_types.image.Image object at 0x711e4ce7f800>
[batch=2/100]:
\t Train time/batch: 1
\t Train loss/train/total: 10.25
[Eval batch=1/2] Eval on eval data:
[Eval batch=2/2] Eval on eval data:
\t Eval metrics/eval/LanguageCrossEntropy: 9.5
\t Eval Accuracy: 0.5
"""

COMPOSER_EPOCHS = """\
0: [epoch=1][batch=1/5]:
0:       Train loss/train/total: 12.0
0: [epoch=2][batch=1/5]:
0:       Train loss/train/total: 11.0
"""

FAIRSEQ_JSON = (
    "2026-03-01 12:29:51 | INFO | fairseq_cli.train | num. model params: 13,110,865,920\n"
    '2026-03-01 12:31:36 | INFO | train_inner | {"epoch": 1, "update": 0.02, "loss": "16.5", "ppl": "92681.9", "wps": "0", '
    '"num_updates": "10", "lr": "2e-05", "gnorm": "20.75", "train_wall": "99", "wall": "105"}\n'
    "2026-03-01 12:33:12 | INFO | fairseq.trainer | NOTE: gradient overflow detected, setting loss scale to: 2.0\n"
    '2026-03-01 12:32:33 | INFO | train_inner | {"epoch": 1, "update": 0.04, "loss": "16.25", "ppl": "77935.2", '
    '"num_updates": "20", "lr": "4e-05"}\n'
    '2026-03-01 12:37:14 | INFO | valid | {"epoch": 1, "valid_loss": "8.75", "valid_ppl": "430.5", "valid_num_updates": "20", '
    '"valid_best_loss": "8.75"}\n'
)

FAIRSEQ = """\
2026-03-01 11:33:20 | INFO | fairseq.trainer | begin training epoch 1
2026-03-01 11:33:32 | INFO | train_inner | epoch 001:    100 / 487 loss=4.75, ppl=26.9, num_updates=100, lr=0.0001, wall=12
2026-03-01 11:33:40 | INFO | train_inner | epoch 001:    200 / 487 loss=4.25, ppl=19.0, num_updates=200, lr=0.0002, wall=22
2026-03-01 11:33:44 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 2.0 | ppl 4 | wps 10000 | num_updates 487
2026-03-01 11:33:44 | INFO | fairseq.checkpoint_utils | Saved checkpoint checkpoint_best.pt (epoch 1 @ 487 updates, score 2.0)
2026-03-01 11:33:44 | INFO | train | epoch 001 | loss 3.5 | ppl 11.3 | num_updates 487 | lr 0.0004 | wall 30
"""

FAIRSEQ_OLD = """\
| epoch 001:     10 / 31621 loss=15.5, ppl=46340.95, num_updates=11, lr=1.1e-07, gnorm=4.208, wall=704, train_wall=19
| epoch 001 | valid on 'valid' subset | loss 8.25 | nll_loss 8.25 | ppl 304.4 | num_updates 10000
"""

TORCHTITAN = (
    "[titan] 2026-03-01 20:35:00,277 - root - INFO - [GC] Performing periodic GC collection took 0.07 seconds\n"
    "[rank0]:[titan] 2026-03-01 20:35:06,500 - root - INFO - \x1b[31mstep: 30  \x1b[32mloss:  8.5  "
    "\x1b[38;2;180;60;0mgrad_norm:  2.75  \x1b[36mmemory: 52.53GiB(66.33%)  \x1b[34mtps: 11,601  "
    "\x1b[36mtflops: 210.05  \x1b[35mmfu: 21.24%\x1b[39m\n"
    "[2026-03-01 20:35:31,500000][I][components/metrics:515:log] step: 50  loss:  3.75  grad_norm:  1.5  "
    "memory:  8.30GiB(12.97%)  tps: 106,472  tflops: 7.62  mfu: 2.56%\n"
)

MEGATRON = """\
 [2026-03-01 10:19:42] iteration       10/   40 | consumed samples:         4096 | elapsed time per iteration (ms): 2701.4 |\
 throughput per GPU (TFLOP/s/GPU): 449.5 | learning rate: 7.500000E-08 | global batch size:  1024 | lm loss: 2.125000E+00 |\
 seq_load_balancing_loss: 1.000203E+00 | loss scale: 1.0 | grad norm: 14.25 | num zeros: 1174412544.0 |\
 number of skipped iterations:   0 | number of nan iterations:   0 |
-----------------------------------------------------------------------------------------------
 validation loss at iteration 10 | lm loss value: 2.250000E+00 | lm loss PPL: 9.487736E+00 |\x20
-----------------------------------------------------------------------------------------------
 [2026-03-01 10:20:42] iteration       20/   40 | consumed samples:         8192 | learning rate: 1.5E-07 | lm loss: 2.0E+00 |
"""


def run_of(text: str, tmp_path: Path, name: str = "train.log") -> Run:
    path = tmp_path / name
    path.write_text(text)
    return store_of(read(path)).runs["run"]


def read(path: Path, cursor: Cursor | None = None) -> list[Any]:
    return list(TextLogReader().read(Source((path,), "run", "run", "text log"), cursor, quiet))


def store_of(events: list[Any]) -> RunStore:
    return RunStore().adding(event for event in events if not isinstance(event, Cursor))


def curves(run: Run) -> dict[str, list[tuple[float, float]]]:
    return {tag: list(zip(one.step.tolist(), one.value.tolist(), strict=True)) for tag, one in run.curves.items()}


def seconds(text: str) -> float:
    return float(np.datetime64(text, "s").astype(int))


def test_that_metrics_below_a_step_of_olmo_core_are_of_that_step(tmp_path: Path) -> None:
    run = run_of(OLMO_CORE, tmp_path)
    assert curves(run) == {
        "epoch": [(100, 1), (150, 1), (200, 1)],
        "train/CE_loss": [(100, 6.25), (200, 5.5)],
        "train/PPL": [(100, 518)],
        "optim/LR_(group_0)": [(100, 0.0003)],
        "throughput/total_tokens": [(100, 4_194_304)],
        "system/Peak_GPU_Memory_(MB)": [(100, 42_133)],
        "optim/step_skipped": [(200, 0)],
        "lm/c4/CE_loss": [(200, 5.75)],
    }
    assert run.config == {"total_steps": 300}
    assert run.curves["train/CE_loss"].wall_time is not None
    assert run.curves["train/CE_loss"].wall_time.tolist() == [
        seconds("2026-03-01T12:01:00"), seconds("2026-03-01T12:04:00"),
    ]  # fmt: skip


def test_that_metrics_below_a_step_of_olmo_are_of_that_step(tmp_path: Path) -> None:
    assert curves(run_of(OLMO, tmp_path)) == {
        "train/CrossEntropyLoss": [(1, 11.25), (2, 10.75)],
        "train/Perplexity": [(1, 76_880)],
        "throughput/device/batches_per_second": [(2, 0.0869)],
    }


def test_that_batches_of_composer_are_steps_and_evaluations_follow_them(tmp_path: Path) -> None:
    assert curves(run_of(COMPOSER, tmp_path)) == {
        "time/batch": [(1, 0), (2, 1)],
        "loss/train/total": [(1, 10.5), (2, 10.25)],
        "train/LanguageCrossEntropy": [(1, 10.4)],
        "metrics/eval/LanguageCrossEntropy": [(2, 9.5)],
        "eval/Accuracy": [(2, 0.5)],
    }


def test_that_batches_composer_counts_anew_in_each_epoch_go_on(tmp_path: Path) -> None:
    assert curves(run_of(COMPOSER_EPOCHS, tmp_path)) == {
        "epoch": [(1, 1), (6, 2)],
        "loss/train/total": [(1, 12.0), (6, 11.0)],
    }


def test_that_updates_are_the_steps_of_fairseq_in_json(tmp_path: Path) -> None:
    run = curves(run_of(FAIRSEQ_JSON, tmp_path))
    assert run["loss"] == [(10, 16.5), (20, 16.25)]
    assert run["lr"] == [(10, 2e-5), (20, 4e-5)]
    assert run["valid_loss"] == [(20, 8.75)]
    assert run["epoch"] == [(10, 1), (20, 1), (20, 1)]


def test_that_updates_are_the_steps_of_fairseq_in_words(tmp_path: Path) -> None:
    run = curves(run_of(FAIRSEQ, tmp_path))
    assert run["loss"] == [(100, 4.75), (200, 4.25)]
    assert run["valid_loss"] == [(487, 2.0)]
    assert run["train_loss"] == [(487, 3.5)]
    assert run["wall"] == [(100, 12), (200, 22)]


def test_that_updates_are_the_steps_of_old_versions_of_fairseq(tmp_path: Path) -> None:
    run = curves(run_of(FAIRSEQ_OLD, tmp_path))
    assert run["loss"] == [(11, 15.5)]
    assert run["train_wall"] == [(11, 19)]
    assert run["valid_loss"] == [(10_000, 8.25)]


def test_that_torchtitan_is_read_with_and_without_its_colours(tmp_path: Path) -> None:
    run = run_of(TORCHTITAN, tmp_path)
    assert curves(run) == {
        "loss": [(30, 8.5), (50, 3.75)],
        "grad_norm": [(30, 2.75), (50, 1.5)],
        "memory_GiB": [(30, 52.53), (50, 8.3)],
        "tps": [(30, 11_601), (50, 106_472)],
        "tflops": [(30, 210.05), (50, 7.62)],
        "mfu_percent": [(30, 21.24), (50, 2.56)],
    }


def test_that_validation_of_megatron_has_the_time_of_the_line_before_it(tmp_path: Path) -> None:
    run = run_of(MEGATRON, tmp_path)
    found = curves(run)
    assert found["lm_loss"] == [(10, 2.125), (20, 2.0)]
    assert found["lm_loss_value"] == [(10, 2.25)]
    assert found["throughput_per_GPU_(TFLOP/s/GPU)"] == [(10, 449.5)]
    assert found["num_zeros"] == [(10, 1_174_412_544)]
    assert run.config == {"total_steps": 40}
    validation = run.curves["lm_loss_value"].wall_time
    assert validation is not None
    assert validation.tolist() == [seconds("2026-03-01T10:19:42")]


def test_that_one_dated_line_gives_no_time_to_the_others(tmp_path: Path) -> None:
    text = "2026-03-01 10:00:00 step 0: loss 4\n" + "".join(f"step {n}: loss 3\n" for n in range(1, 5))
    assert run_of(text, tmp_path).curves["loss"].wall_time is None


ALL = {
    "olmo_core": OLMO_CORE, "olmo": OLMO, "composer": COMPOSER, "composer_epochs": COMPOSER_EPOCHS,
    "fairseq_json": FAIRSEQ_JSON, "fairseq": FAIRSEQ, "fairseq_old": FAIRSEQ_OLD,
    "torchtitan": TORCHTITAN, "megatron": MEGATRON,
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_that_a_log_is_known(name: str, tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_text(ALL[name])
    assert TextLogReader().match(Entry(path, "console.log")) is Match.MAYBE


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=20)
@given(cut=st.integers(0, 30))
def test_that_a_log_read_in_two_parts_has_the_same_curves(name: str, cut: int, tmp_path_factory: Any) -> None:
    lines = ALL[name].splitlines(keepends=True)
    cut %= len(lines)
    path = tmp_path_factory.mktemp("log") / "train.log"
    path.write_text("".join(lines[:cut]))
    first = read(path)
    path.write_text(ALL[name])
    second = read(path, first[-1])
    assert curves(store_of([*first, *second]).runs["run"]) == curves(store_of(read(path)).runs["run"])


def test_that_other_text_stays_as_it_is() -> None:
    text = "num_updates unknown\nstep 3: loss 2\n    indented=3\n[Eval batch=1/2] Eval on x data:\n"
    assert one_line_a_step(text) == (text, "")


@pytest.mark.parametrize(
    "line",
    [
        '2024-01-01 00:00:00 | INFO | train_inner | {"epoch": 1, "num_updates": "1"',
        '2024-01-01 00:00:00 | INFO | train_inner | {"epoch": 1, "num_updates": ???}',
        '2024-01-01 00:00:00 | INFO | train_inner | {"epoch": 1, "train_loss": "1"}',
        "2024-01-01 00:00:00 | INFO | train_inner | epoch 001:  10 / 99 loss=3.1, num_updates=soon",
    ],
)
def test_that_a_line_of_fairseq_without_a_step_stays_as_it_is(line: str) -> None:
    assert one_line_a_step(line)[0] == line
