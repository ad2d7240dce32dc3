"""Repositories of Aim, which are not read: its runs lie in RocksDB, which nothing but Aim's own library opens."""

from __future__ import annotations

from collections.abc import Iterator

from ..progress import Progress
from ..tables import Event, Problem
from .base import Cursor, Entry, Match, Reader, Source

_WHAT = (
    "Runs of Aim lie in a database that only Aim can open: export them there, with the dataframe of "
    "aim.Repo.query_metrics(), to a CSV or Parquet file with the columns run, metric, step and value, and open that file."
)


class AimReader(Reader):
    """Says how the runs of a repository can be opened."""

    name = "aim"
    makes_runs = False
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a repository by its name and what is in it."""
        known = entry.is_folder and entry.name == ".aim" and entry.children & {"meta", "seqs", "run_metadata.sqlite"}
        return Match.YES if known else Match.NO

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Say it."""
        yield Problem(source.relative, self.name, _WHAT)
        yield Cursor()
