"""Write the database of this folder, with trackio 0.43.0: ``python make.py`` in an environment that has it."""

import math
import os
import shutil
import sqlite3
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
os.environ |= {"TRACKIO_DIR": str(OUT), "HF_HUB_OFFLINE": "1", "HF_USERNAME": "someone", "USER": "someone"}

import trackio  # noqa: E402

if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    for seed in range(2):
        trackio.init(
            project="toy", name=f"seed-{seed}", group="g", config={"lr": 0.1, "seed": seed, "net": {"width": 8}}
        )
        for step in range(30):
            row = {"train/loss": 1 / (step + 1) + seed, "nested": {"acc": step / 30}, "note": "text"}
            if step == 5:
                row |= {"grad": math.nan}
            if step == 6:
                row |= {"grad": math.inf}
            trackio.log(row)
        trackio.log_system({"cpu": 12.5})
        trackio.finish()
    with sqlite3.connect(OUT / "toy.db") as database:
        database.execute("PRAGMA journal_mode = DELETE")
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if name not in ("metrics", "configs", "system_metrics") and not name.startswith("sqlite_"):
                database.execute(f'DROP TABLE "{name}"')  # empty ones take pages
        database.commit()
        database.execute("VACUUM")
    shutil.move(OUT / "toy.db", HERE / "toy.db")
    shutil.rmtree(OUT)
