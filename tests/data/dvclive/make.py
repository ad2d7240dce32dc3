"""Write the folder ``dvclive`` beside this script, with dvclive 3.49.1: ``python make.py`` in an environment that has it,
inside a repository of git with a commit."""

import shutil
from pathlib import Path

from dvclive import Live

HERE = Path(__file__).parent

if __name__ == "__main__":
    shutil.rmtree(HERE / "dvclive", ignore_errors=True)
    with Live(str(HERE / "dvclive"), save_dvc_exp=False, report=None, monitor_system=False, dvcyaml=None) as live:
        live.log_params({"lr": 0.1, "seed": 3, "net": {"width": 8}})
        for epoch in range(12):
            live.log_metric("train/loss", 1 / (epoch + 1), timestamp=True)
            live.log_metric("val/acc/top1", epoch / 12)
            live.next_step()
        live.log_metric("best", 0.9, plot=False)
