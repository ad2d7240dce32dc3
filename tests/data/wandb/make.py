"""Write the runs of this folder, with wandb 0.31.0, offline: ``python make.py`` in an environment that has it."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ |= {
    "WANDB_MODE": "offline", "WANDB_DIR": str(HERE / "out"), "WANDB_SILENT": "true", "WANDB_USERNAME": "someone",
    "WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true", "WANDB_HOST": "a-host", "WANDB__DISABLE_META": "true",
}  # fmt: skip

import wandb  # noqa: E402


def finished():
    run = wandb.init(project="toy", id="finished", name="small-lr", group="sweep", tags=["a"], notes="a note",
                     config={"lr": 0.1, "seed": 3, "optimizer": {"name": "adam", "betas": [0.9, 0.99]}},
                     settings=wandb.Settings(x_stats_sampling_interval=0.2, x_disable_meta=True))  # fmt: skip
    run.define_metric("train/tokens")
    run.define_metric("val/*", step_metric="train/tokens")
    run.define_metric("val/loss", step_metric="train/tokens", summary="min")
    for step in range(60):
        logged = {"train/loss": 2 / (step + 1), "train/tokens": 512 * (step + 1)}
        if step % 10 == 9:
            logged |= {"val/loss": 3 / (step + 1), "val/nested": {"acc": step / 60}}
        if step == 20:
            logged |= {"train/grad": math.nan}
        if step == 21:
            logged |= {"train/grad": math.inf, "note": "text", "flag": True}
        run.log(logged)
        if step == 30:
            import time

            time.sleep(0.6)  # so that the system is measured
    run.config.update({"late": "yes"})
    run.summary["best"] = 0.05
    run.finish()


def failed():
    run = wandb.init(project="toy", id="failed", config={"lr": 10.0}, settings=wandb.Settings(x_disable_stats=True))
    for step in range(5):
        run.log({"train/loss": 10.0**step, "text": "x" * 12_000}, step=step * 10)  # records longer than a block
    run.finish(exit_code=1)


def killed():
    run = wandb.init(project="toy", id="killed", settings=wandb.Settings(x_disable_stats=True))
    for step in range(150):
        run.log({"train/loss": 1 / (step + 1)})
    import time

    time.sleep(2)
    os.system(f"pkill -9 -P {os.getpid()}")
    os._exit(9)


if __name__ == "__main__":
    if sys.argv[1:]:
        globals()[sys.argv[1]]()
        sys.exit()
    shutil.rmtree(HERE / "out", ignore_errors=True)
    (HERE / "out").mkdir()
    for name in ("finished", "failed", "killed"):
        subprocess.run([sys.executable, __file__, name], check=False)
        (folder,) = (HERE / "out" / "wandb").glob(f"offline-run-*-{name}")
        target = HERE / f"offline-run-20260102_030405-{name}"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        shutil.copy(folder / f"run-{name}.wandb", target)
    shutil.rmtree(HERE / "out")
