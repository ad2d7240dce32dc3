"""Write the task of this folder, with clearml 2.1.12, offline: ``python make.py`` in an environment that has it."""

import json
import os
import shutil
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
os.environ |= {"CLEARML_CACHE_DIR": str(OUT), "CLEARML_OFFLINE_MODE": "1", "USER": "someone", "LOGNAME": "someone"}

from clearml import Task  # noqa: E402

if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    task = Task.init(
        project_name="toy", task_name="small-lr", auto_connect_frameworks=False, auto_connect_streams=False,
        auto_resource_monitoring=False, auto_connect_arg_parser=False,
    )  # fmt: skip
    task.connect({"lr": 0.1, "seed": 3, "net": {"width": 8}})
    logger = task.get_logger()
    for step in range(20):
        logger.report_scalar("loss", "train", value=1 / (step + 1), iteration=step)
        if step % 5 == 0:
            logger.report_scalar("loss", "val", value=2 / (step + 1), iteration=step)
    logger.report_single_value("best", 0.9)
    task.close()
    (folder,) = (path for path in OUT.rglob("offline-*") if path.is_dir())
    target = HERE / "offline-toy"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in ("task.json", "metrics.jsonl"):
        shutil.copy(folder / name, target)
    about = json.loads((target / "task.json").read_text())
    kept = {key: value for key, value in about.items() if key not in ("script", "offline_folder")}
    (target / "task.json").write_text(json.dumps(kept))
    shutil.rmtree(OUT)
