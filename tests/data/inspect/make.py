"""Write the logs of this folder, with inspect-ai 0.3.285: ``python make.py`` in an environment that has it.

A model that needs no network answers four sums twice. One log is that of an evaluation whose process ended in the middle.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ |= {"INSPECT_LOG_LEVEL": "error", "INSPECT_DISPLAY": "none"}

import tiktoken  # noqa: E402

# Tokens are counted with an encoding that would have to be downloaded.
_bytes = tiktoken.Encoding("bytes", pat_str=".", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={})
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: _bytes

from inspect_ai import Epochs, Task, eval, task  # noqa: E402, A004
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.log import read_eval_log, write_eval_log  # noqa: E402
from inspect_ai.log._recorders.chunked.convert import convert_eval_logs_to_chunked  # noqa: E402
from inspect_ai.model import ModelOutput, get_model  # noqa: E402
from inspect_ai.scorer import Score, match, mean, scorer, stderr  # noqa: E402
from inspect_ai.solver import generate, solver  # noqa: E402

SUMS = [Sample(id=f"sum-{n}", input=f"What is {n} + {n}?", target=str(2 * n)) for n in range(4)]


@scorer(metrics={"length": [mean()], "brevity": [mean(), stderr()]})
def shape():
    async def score(state, target):
        said = state.output.completion
        return Score(value={"length": len(said), "brevity": 1 / max(1, len(said))}, answer=said)

    return score


@solver
def dying_after(samples):
    done = 0

    async def solve(state, generate):
        nonlocal done
        done += 1
        if done > samples:
            import asyncio

            await asyncio.sleep(5)  # what is done by now is on disk
            os._exit(1)
        return state

    return solve


@task
def sums(dying=0):
    steps = [generate()] + ([dying_after(dying)] if dying else [])
    scorers = match() if dying else [match(), shape()]
    return Task(dataset=SUMS, solver=steps, scorer=scorers, epochs=None if dying else Epochs(2, "mean"))


def model(right):
    outputs = [ModelOutput.from_content("mock", str(2 * n if n < right else -1)) for _ in range(2) for n in range(4)]
    return get_model("mockllm/model", custom_outputs=outputs)


if __name__ == "__main__":
    common = {"log_dir": str(HERE / "logs"), "max_samples": 1, "log_realtime": False, "log_buffer": 1}
    if sys.argv[1:] == ["dying"]:
        eval(sums(dying=2), model=model(4), **common)
    shutil.rmtree(HERE / "logs", ignore_errors=True)
    subprocess.run([sys.executable, __file__, "dying"], check=False)
    (unfinished,) = (HERE / "logs").glob("*.eval")
    unfinished.rename(HERE / "unfinished.eval")
    done = eval(sums(), model=model(3), **common)[0]
    shutil.copy(done.location, HERE / "finished.eval")
    write_eval_log(read_eval_log(done.location), str(HERE / "finished.json"))
    (HERE / "chunked.eval").unlink(missing_ok=True)
    convert_eval_logs_to_chunked(str(HERE / "finished.eval"), str(HERE / "logs"), overwrite=True)
    (HERE / "logs" / "finished.eval").rename(HERE / "chunked.eval")
    shutil.rmtree(HERE / "logs")
