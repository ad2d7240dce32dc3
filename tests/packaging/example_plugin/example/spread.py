from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from runglass.models.errors import TooLittleData
from runglass.models.figure import Axis, FigureSpec, Keys, Panel, Points
from runglass.models.question import Analysis, Need, Question, option
from runglass.models.result import Estimate, Result


@dataclass(frozen=True, kw_only=True)
class Spread(Result):
    """How far apart runs end."""

    tag: str

    def summary(self) -> str:
        one = self.estimates["sd"]
        return f"Runs end {one.value:.3g} [{one.low:.3g}, {one.high:.3g}] apart in {self.tag}."


@dataclass(frozen=True, kw_only=True)
class SpreadQuestion(Question):
    """How far apart do runs end?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option("loss", help="what is compared", choices="tags")
    level: float = option(0.95, help="coverage of the interval", low=0.5, high=0.999)

    def answer(self, store, *, engine=None, progress=lambda *_: None):
        from scipy.stats import chi2

        ends = pd.Series({run.key: float(curve.value[-1]) for run, curve in store.curves(self.tag)})
        if len(ends) < 3:
            raise TooLittleData(needs=f"at least 3 runs with {self.tag}", found=str(len(ends)))
        sd, df = float(ends.std(ddof=1)), len(ends) - 1
        low, high = (sd * np.sqrt(df / chi2.ppf(p, df)) for p in ((1 + self.level) / 2, (1 - self.level) / 2))
        return Spread(
            tag=self.tag,
            estimates={"sd": Estimate(sd, float(low), float(high), self.level)},
            tables={"runs": ends.rename("last").rename_axis("run").reset_index()},
            notes=("Standard deviation over runs with its chi-squared interval (unit: the run).",),
        )


def figure(question, result):
    """Draw where every run ended."""
    runs = result.tables["runs"]
    x, y = np.arange(len(runs), dtype=float), runs["last"].to_numpy()
    points = Points(key="runs", x=x, y=y, origin=Keys("run", tuple(runs["run"])))
    panel = Panel(key="ends", x=Axis(label="run"), y=Axis(label=result.tag), marks=(points,))
    return FigureSpec(title="Spread of runs", panels=(panel,), caption=result.summary())


ANALYSIS = Analysis(
    id="example.spread",
    title="Spread of runs",
    asks="How far apart do runs end?",
    question=SpreadQuestion,
    figure=figure,
    sources=("Cochran (1934): the distribution of a sample variance",),
    definition="$s$ of the last values, with $s\\sqrt{(n-1)/\\chi^2}$ as its interval.",
)
