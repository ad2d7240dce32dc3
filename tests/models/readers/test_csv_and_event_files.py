"""The same runs, logged as separated values and as event files, are the same curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runglass.models.progress import quiet
from runglass.models.readers.base import Reader, Source
from runglass.models.readers.csv_log import CsvLogReader
from runglass.models.readers.tensorboard import TensorBoardReader
from runglass.models.store import RunStore
from runglass.models.tables import Curve


def curves(reader: Reader, paths: list[Path]) -> dict[str, Curve]:
    *events, _ = reader.read(Source(tuple(paths), paths[0].name, "run", reader.name), None, quiet)
    return dict(RunStore().adding(events).runs["run"].curves)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "run",
    [
        "baseline/study_0/ogbg_jax",
        "baseline/study_1/wmt_jax",
        "schedule_free_adamw/study_0/ogbg_pytorch",
        "schedule_free_adamw/study_1/wmt_pytorch",
    ],
)
def test_that_algoperf_measurements_agree_with_their_event_files(shared_data: Path, run: str) -> None:
    folder = shared_data / "runs/algoperf" / run / "trial_1"
    separated = curves(CsvLogReader(), [folder / "measurements.csv"])
    logged = curves(TensorBoardReader(), sorted(folder.glob("events.out.tfevents.*")))
    both = separated.keys() & logged.keys()
    assert {"validation/loss", "score"} <= both
    for tag in both:
        # Event files may have more: a last step, or what a resumed run logged twice.
        at = {int(step): value for step, value in zip(logged[tag].step, logged[tag].value, strict=True)}
        steps = [int(step) for step in separated[tag].step]
        assert set(steps) <= at.keys(), tag
        assert np.allclose(separated[tag].value, [at[step] for step in steps], rtol=1e-6, equal_nan=True), tag
