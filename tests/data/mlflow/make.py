"""Write the stores of this folder, with mlflow-skinny 3.17.2: ``python make.py`` in an environment that has it.

The same runs are written into a folder of files and into a database.
"""

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ |= {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "LOGNAME": "someone",
    "USER": "someone",
}

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402

START = 1_767_000_000_000


def write(uri):
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("toy experiment", artifact_location="artifacts")
    deleted = client.create_run(experiment, start_time=START, run_name="deleted")
    client.delete_run(deleted.info.run_id)
    for seed, end in ((0, "FINISHED"), (1, "FAILED"), (2, None)):
        run = client.create_run(experiment, start_time=START, tags={"team": "a"}, run_name=f"seed-{seed}")
        metrics = [Metric("train/loss", 1 / (step + 1) + seed, START + step * 1000, step) for step in range(40)]
        metrics += [Metric("val loss", 2 / (step + 1), START + step * 1000, step) for step in range(0, 40, 10)]
        metrics += [Metric("grad", math.nan, START, 3), Metric("grad", math.inf, START + 1, 4)]
        client.log_batch(
            run.info.run_id,
            metrics,
            [Param("lr", "0.1"), Param("seed", str(seed)), Param("model/name", "small")],
            [RunTag("note", "two\nlines")],
        )
        if end:
            client.set_terminated(run.info.run_id, end, end_time=START + 60_000)
    child = client.create_run(
        experiment, start_time=START, run_name="child", tags={"mlflow.parentRunId": run.info.run_id}
    )
    client.log_metric(child.info.run_id, "train/loss", 7.0, START, 0)


def _tidy(path, folder):
    """Leave out the 40 tables that are empty, and where the files lay."""
    kept = ("experiments", "runs", "metrics", "latest_metrics", "params", "tags", "alembic_version")
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in tables:
            if name not in kept and not name.startswith("sqlite_"):
                database.execute(f'DROP TABLE "{name}"')
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, '/home/someone')", (folder,))
        database.commit()
        database.execute("VACUUM")


if __name__ == "__main__":
    if sys.argv[1:]:
        write(sys.argv[1])
        sys.exit()
    out = HERE / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for uri in ("sqlite:///mlflow.db", "file:mlruns"):
        subprocess.run([sys.executable, __file__, uri], check=True, cwd=out)
    for meta in out.rglob("meta.yaml"):
        meta.write_text(meta.read_text().replace(str(out), "/home/someone"))
    _tidy(out / "mlflow.db", str(out))
    shutil.rmtree(HERE / "mlruns", ignore_errors=True)
    shutil.move(out / "mlruns", HERE / "mlruns")
    shutil.move(out / "mlflow.db", HERE / "mlflow.db")
    shutil.rmtree(out)
