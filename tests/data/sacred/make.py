"""Write the runs of this folder, with sacred 0.8.7: ``python make.py`` in an environment that has it."""

import contextlib
import json
import shutil
from pathlib import Path

from sacred import SETTINGS, Experiment
from sacred.observers import FileStorageObserver

HERE = Path(__file__).parent
SETTINGS["CAPTURE_MODE"] = "no"
SETTINGS["DISCOVER_SOURCES"] = SETTINGS["DISCOVER_DEPENDENCIES"] = "none"
SETTINGS["HOST_INFO"]["INCLUDE_GPU_INFO"] = False


def made(name, failing):
    experiment = Experiment(name, save_git_info=False)
    experiment.add_config(lr=0.1, net={"width": 8, "act": "relu"})

    @experiment.main
    def train(_run, lr):
        for step in range(20):
            _run.log_scalar("train.loss", 1 / (step + 1), step)
            if step % 5 == 0:
                _run.log_scalar("val.loss", 2 / (step + 1), step)
        if failing:
            raise RuntimeError("too warm")
        return 0.05

    return experiment


if __name__ == "__main__":
    shutil.rmtree(HERE / "runs", ignore_errors=True)
    for failing in (False, True):
        experiment = made("toy", failing)
        experiment.observers.append(FileStorageObserver(HERE / "runs", copy_sources=False))
        with contextlib.suppress(RuntimeError):
            experiment.run(config_updates={"seed": 7})
    shutil.rmtree(HERE / "runs" / "_sources", ignore_errors=True)
    for path in HERE.glob("runs/*/run.json"):
        run = json.loads(path.read_text())
        run["host"] = {}
        run["experiment"]["base_dir"] = "/home/someone"
        run["experiment"]["mainfile"] = "make.py"
        run["fail_trace"] = run.get("fail_trace") and run["fail_trace"][-1:]
        path.write_text(json.dumps(run, indent=2))
