"""Write the run of this folder, with swanlab 0.10.3, offline: ``python make.py`` in an environment that has it."""

import math
import os
import shutil
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
os.environ |= {"SWANLAB_LOG_DIR": str(OUT), "SWANLAB_SAVE_DIR": str(OUT / "save"), "SWANLAB_MODE": "offline"}

import swanlab  # noqa: E402

if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    run = swanlab.init(
        project="toy", experiment_name="small-lr", description="a note", tags=["a"], group="sweep",
        config={"lr": 0.1, "seed": 3, "net": {"width": 8}}, logdir=str(OUT), mode="offline",
    )  # fmt: skip
    for step in range(50):
        run.log({"train/loss": 2 / (step + 1), "acc": step / 50})
        if step == 5:
            run.log({"grad": math.inf}, step=step)
    run.finish()
    (folder,) = (path for path in OUT.rglob("run-*") if path.is_dir())
    (log,) = folder.glob("*.swanlab")
    target = HERE / "run-20260102_030405-toy"
    shutil.rmtree(target, ignore_errors=True)
    (target / "files").mkdir(parents=True)
    shutil.copy(log, target / "run-toy.swanlab")
    shutil.copy(folder / "files" / "config.yaml", target / "files")
    shutil.rmtree(OUT)
