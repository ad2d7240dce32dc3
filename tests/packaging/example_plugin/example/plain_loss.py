import numpy as np

from runglass.models.readers.base import Cursor, Match, Reader
from runglass.models.tables import CurvePiece, RunFacts


class PlainLossReader(Reader):
    """Reads ``loss.txt``: one number a line."""

    name = "plain loss"

    def match(self, entry):
        return Match.YES if entry.name == "loss.txt" else Match.NO

    def read(self, source, cursor, progress):
        values = np.loadtxt(source.path, ndmin=1)
        start = cursor.state.get("lines", 0) if cursor else 0
        yield RunFacts(source.run, reader=self.name, source=source.relative)
        yield CurvePiece(source.run, np.arange(start, len(values)), {"loss": values[start:]})
        yield Cursor(state={"lines": len(values)})
