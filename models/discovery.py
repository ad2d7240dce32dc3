"""What lies in the folders that were opened: every log, table and configuration, with the reader that reads it.

Walking looks at names and, where a name does not tell, at the first bytes; nothing is loaded. A folder with a
single log is the run and gives it its key; where a folder holds several logs, each becomes a run below it.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .address import is_address, local_path
from .answering import Answering
from .errors import ReadError
from .natural_order import natural_order
from .progress import Progress, quiet
from .readers.base import Entry, Match, Reader, Source
from .readers.registry import reader_for
from .tables import Problem
from .text_pattern import TextPattern

if TYPE_CHECKING:
    from .mirror import Mirror

_PASSED_OVER = frozenset({"__pycache__", "node_modules", "site-packages", ".git", ".venv", ".ipynb_checkpoints"})

_SETTLED_NS = 3_000_000_000
"""Age of a change from which on a further one has another time: the coarsest file systems count two seconds."""

_LIST_SECONDS = 30.0
"""Seconds after which a folder is listed again although its time says that nothing changed: not all clocks are right."""

_SHARES = 16
"""Parts of that time over which the folders that are listed again are spread."""


def as_text(path: str) -> str:
    """Give a path as text that can be written anywhere: bytes in a name that are no text are spelled out."""
    return path.encode("utf-8", "backslashreplace").decode()


def _place(path: str) -> str:
    """Give the part of a pattern before its first wildcard: a folder."""
    while glob.has_magic(path):
        path = os.path.dirname(path) or os.curdir
    return path


def _is_below(path: Path, folders: Iterable[str]) -> bool:
    return any(_is_within(os.path.join(path, ""), os.path.abspath(_place(one))) for one in folders)


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


@dataclass(frozen=True)
class _Glance(Entry):
    """An entry with nothing in it, that notes whether a reader wanted to look into it."""

    asked: list[bool] = field(default_factory=list)

    @property
    def head(self) -> bytes:
        """Nothing."""
        self.asked.append(True)
        return b""


@dataclass(slots=True)
class _Listed:
    """What a folder held when it was listed.

    Attributes
    ----------
    changed : int
        Its time of last change then, in ns.
    at : float
        When that was (s, on a clock that never goes back), or a few seconds earlier.
    is_settled : bool
        Whether it had not changed for so long that its time tells of the next change: file systems count it in seconds.
    sources : list of Source
        What is in it, but for its folders.
    folders : list of (str, Path)
        The folders to look into, by relative path.
    unsure : list of Path
        Files of which it is not certain what they are.
    look : int
        In which look at all folders that was.
    """

    folder: Path
    changed: int
    at: float
    is_settled: bool
    sources: list[Source]
    folders: list[tuple[str, Path]]
    unsure: list[Path]
    look: int


class Discovery:
    """Walks folders, again and again where they grow, and remembers what it has decided.

    Parameters
    ----------
    paths : sequence of Path or str
        Folders, files, glob patterns or addresses.
    patterns : tuple of TextPattern
        How the user reads some text files; they come before all readers.
    patience : float, optional
        Seconds after which a path that does not answer is passed over until it does; None waits for ever.
    """

    def __init__(
        self, paths: Sequence[Path | str], patterns: tuple[TextPattern, ...] = (), patience: float | None = None
    ) -> None:
        self._patterns = patterns
        self._answering = None if patience is None else Answering(patience)
        self.silent: frozenset[str] = frozenset()
        """Paths that did not answer when they were last asked; what is below them is not looked at."""
        self.passed_over: frozenset[str] = frozenset()
        """Those that were silent when `sources` was last begun, and so are missing from what it gave."""
        self._paths = [local_path(str(path)) or str(path) for path in paths]
        self._mirrors: dict[str, Mirror] = {}
        self._looks: dict[str, int] = {}
        self._glanced: dict[Path, bool] = {}
        self._decided: dict[Path, tuple[Reader | None, Match, tuple[int, int]]] = {}
        self._listed: dict[Path, _Listed] = {}
        self._to_list: set[Path] = set()
        self._look = 0
        self._lists = 0
        self._keys: dict[tuple[str, str, str], str] = {}
        self._taken: set[str] = set()
        self._labels: dict[Path, str] = {}
        self._links: dict[tuple[str, str], str] = {}

    def sources(self, progress: Progress = quiet) -> Iterator[Source | Problem]:
        """Give every source there is now, a folder's configuration before its logs.

        Raises
        ------
        Cancelled
            When `progress` says so while something elsewhere is listed.
        """
        self._look += 1
        self.ask()
        self.passed_over = self.silent
        files: dict[Path, list[Path]] = {}
        for path in self._paths:
            if path not in self.passed_over and not is_address(path) and os.path.isfile(path):
                file = Path(path).absolute()
                files.setdefault(file.parent, []).append(file)
        for path in self._paths:
            if path in self.passed_over:
                yield Problem(as_text(path), "", "It does not answer; it is read as soon as it does.")
            elif is_address(path):
                yield from self._elsewhere(path, progress)
            elif os.path.isfile(path):
                # Files of one folder that are opened one by one are read as they are where the folder is opened.
                folder = Path(path).absolute().parent
                if folder in files:
                    yield from self._opened(folder, self._below(folder, folder), files.pop(folder))
            else:
                yield from self._under(path)

    def ask(self) -> None:
        """Find out which paths are `silent` now; where patience has no end, none is."""
        if self._answering is not None:
            self.silent = self._answering.silent(path for path in self._paths if not is_address(path))

    def is_silent(self, path: Path) -> bool:
        """Whether a path lies below one that did not answer."""
        return bool(self.silent) and _is_below(path, self.silent)

    def was_passed_over(self, path: Path) -> bool:
        """Whether a path lies below one that is missing from what `sources` gave last."""
        return _is_below(path, self.passed_over)

    def _below(self, above: Path, path: Path) -> str:
        """Give `path` as a key: what `above` is called, then the way from there.

        A folder is called by its name; a second one of that name also by the folders above it, so that their runs are not
        taken for one another.
        """
        if above not in self._labels:
            parts = [part for part in above.resolve().parts if part.strip("/\\")] or ["root"]
            self._label(above, ["/".join(parts[-count:]).replace(":", "") for count in range(1, len(parts) + 1)])
        way = os.path.relpath(path, above).replace(os.sep, "/")
        return as_text((PurePosixPath(self._labels[above]) / PurePosixPath(way)).as_posix())

    def _label(self, above: Path, labels: Sequence[str]) -> None:
        """Call a folder by the first name that no other has."""
        taken = set(self._labels.values())
        self._labels[above] = next((label for label in labels if label not in taken), str(above))

    def mirror(self, path: Path) -> Mirror | None:
        """Give the mirror that holds a path; None where it is a path of this machine."""
        return next((mirror for mirror in self._mirrors.values() if mirror.holds(path)), None)

    def _elsewhere(self, address: str, progress: Progress) -> Iterator[Source | Problem]:
        """Give the sources at an address, found in its mirror."""
        if address not in self._mirrors:
            from .mirror import mirror_of

            self._mirrors[address] = mirror_of(address, _PASSED_OVER)
            self._mirrors[address].look_anew()
        mirror = self._mirrors[address]
        yield from mirror.refresh(progress)
        if not mirror.looks:
            return
        if self._looks.get(address) != mirror.looks:
            try:
                mirror.glimpse(self._unclear(mirror), progress)
            except ReadError as error:
                yield Problem(mirror.shown, "", error.what)
            else:
                self._looks[address] = mirror.looks
        files = mirror.files()
        if mirror.folder not in self._labels:
            parts = mirror.place()
            is_file = files is not None and not mirror.is_pattern
            folder = (parts[:-1] if is_file else parts) or ["remote"]
            names = ["/".join(folder[-count:]) for count in range(1, len(folder) + 1)]
            if is_file and len(parts) > 1:
                # Files of one folder that are opened one by one have its name in common.
                names[1:1] = [f"{names[0]}/{PurePosixPath(parts[-1]).stem}"]
            self._label(mirror.folder, names)
        if files is None:
            relative = self._below(mirror.folder, mirror.folder)
            yield from self._walked(mirror.folder, relative, frozenset(), os.path.realpath(mirror.folder))
            return
        together: dict[Path, list[Path]] = {}
        for file in files:
            together.setdefault(file.parent, []).append(file)
        for parent, beside in together.items():
            yield from self._opened(parent, self._below(mirror.folder, parent), beside)

    def _unclear(self, mirror: Mirror) -> Iterator[Path]:
        """Give the files of a mirror whose names do not tell what they are."""
        siblings: dict[Path, frozenset[str]] = {}
        for path in mirror.unknown():
            known = self._decided.get(path)
            if known is not None and known[1] is Match.YES:
                continue
            if path not in self._glanced:
                if path.parent not in siblings:
                    siblings[path.parent] = frozenset(os.listdir(path.parent))
                relative = path.relative_to(mirror.folder.parent).as_posix()
                entry = _Glance(path, relative, siblings=siblings[path.parent])
                reader_for(entry, self._patterns)
                # Readers also look into what lies beside: a few lines of YAML tell whether a run was deleted.
                self._glanced[path] = bool(entry.asked) or entry.suffix in (".yaml", ".yml")
            if self._glanced[path]:
                yield path

    def _opened(self, folder: Path, relative: str, files: Sequence[Path]) -> Iterator[Source | Problem]:
        files = sorted(set(files), key=lambda file: natural_order(file.name))
        yield from self._files(folder, relative, files, frozenset(file.name for file in files))

    def _under(self, path: str) -> Iterator[Source | Problem]:
        found = [Path(path)] if os.path.lexists(path) else sorted(map(Path, glob.glob(path, recursive=True)))
        if not found:
            yield Problem(as_text(path), "", "There is no such file or folder.")
            return
        found = [root.absolute() for root in found]
        # Keys begin with the name of what was opened; for several matches of a pattern, of the folder they have in common.
        above = found[0] if len(found) == 1 else Path(os.path.commonpath(found))
        files: dict[Path, list[Path]] = {}
        for root in found:
            if root.is_dir():
                yield from self._walked(root, self._below(above, root), frozenset(), os.path.realpath(root))
            else:
                files.setdefault(root.parent, []).append(root)
        for parent, together in files.items():
            folder = parent if len(found) == 1 else above
            yield from self._opened(parent, self._below(folder, parent), together)

    def _walked(
        self, folder: Path, relative: str, above: frozenset[tuple[int, int]], top: str
    ) -> Iterator[Source | Problem]:
        try:
            info = os.stat(folder)
            here = (info.st_dev, info.st_ino)
            if here in above:
                return  # a link back to a folder we are in
            known = self._listed.get(folder)
            if known is None or not self._is_as_listed(known, info.st_mtime_ns):
                known = self._listed[folder] = self._list(folder, relative, info.st_mtime_ns, top)
                around = self._listed.get(folder.parent)
                if around is not None and around.look != self._look:
                    self._to_list.add(around.folder)  # what a folder is may show in the folders in it
        except OSError as error:
            self._listed.pop(folder, None)
            yield Problem(relative, "", f"The folder cannot be listed: {error.strerror}.")
            return
        yield from known.sources
        if known.folders:
            above |= {here}
            for name, path in known.folders:
                yield from self._walked(path, name, above, top)

    def _is_as_listed(self, known: _Listed, changed: int) -> bool:
        """Whether a folder holds what it did: its time tells of names that came and went, but for those of the last seconds."""
        return (
            known.changed == changed
            and known.is_settled
            and known.folder not in self._to_list
            and time.monotonic() - known.at < _LIST_SECONDS
            and all(_stamp(path) == self._decided[path][2] for path in known.unsure)
        )

    def _list(self, folder: Path, relative: str, changed: int, top: str) -> _Listed:
        """Look what is in a folder now.

        Raises
        ------
        OSError
            When it cannot be listed.
        """
        self._to_list.discard(folder)
        is_settled = time.time_ns() - changed > _SETTLED_NS
        with os.scandir(folder) as listing:
            entries = list(listing)
        if len(entries) > 1:
            entries.sort(key=lambda entry: natural_order(entry.name))
        names = frozenset(entry.name for entry in entries)
        files: list[Path] = []
        folders: list[tuple[str, Path]] = []
        for entry in entries:
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            if not is_folder:
                files.append(folder / entry.name)
            elif entry.is_symlink() and _is_within(os.path.realpath(entry.path), top):
                continue  # `latest` and its like: it is met where it lies
            elif entry.is_symlink() and not self._leads_first(entry.path, top):
                continue  # folders that link to each other would be walked on every way through them
            elif entry.name not in _PASSED_OVER:
                folders.append((f"{relative}/{as_text(entry.name)}", folder / entry.name))
        whole = Entry(folder, relative, is_folder=True)
        vars(whole)["children"] = names  # they need not be listed twice
        reader = self._reader(whole)
        sources: list[Source] = []
        if reader is not None:
            sources.append(Source((folder,), relative, self._key(relative, "", reader, alone=True), reader.name))
        if reader is None or reader.shares_folder:
            sources += self._files(folder, relative, files, names)
        else:
            files, folders = [], []
        unsure = [path for path in files if path in self._decided and self._decided[path][1] is not Match.YES]
        # Folders that were listed together are not all listed again together.
        self._lists = (self._lists + 1) % _SHARES
        at = time.monotonic() - _LIST_SECONDS / 2 * self._lists / _SHARES
        return _Listed(folder, changed, at, is_settled, sources, folders, unsure, self._look)

    def _leads_first(self, link: str, top: str) -> bool:
        """Whether a link is the way on which a folder outside what was opened was met first."""
        way = (top, os.path.realpath(link))
        first = self._links.setdefault(way, link)
        if first != link and not os.path.islink(first):
            first = self._links[way] = link
        return first == link

    def _files(self, folder: Path, relative: str, files: Sequence[Path], names: frozenset[str]) -> Iterator[Source]:
        """Give the sources among the files of one folder."""
        configs: list[Source] = []
        tables: list[Source] = []
        logs: list[tuple[Reader, tuple[Path, ...]]] = []
        gathered: dict[str, tuple[Reader, list[Path]]] = {}
        for path in files:
            child = f"{relative}/{as_text(path.name)}"
            reader = self._reader(Entry(path, child, siblings=names))
            if reader is None:
                continue
            if reader.is_config:
                configs.append(Source((path,), child, relative, reader.name))
            elif not reader.makes_runs:
                tables.append(Source((path,), child, relative, reader.name))
            elif reader.gathers:
                gathered.setdefault(reader.name, (reader, []))[1].append(path)
            else:
                logs.append((reader, (path,)))
        yield from configs
        logs = [(reader, tuple(paths)) for reader, paths in gathered.values()] + logs
        for reader, paths in logs:
            name = "" if reader.gathers else as_text(paths[0].name)
            shown = relative if reader.gathers else f"{relative}/{name}"
            home = reader.run_folder(folder, relative) if reader.gathers else relative
            key = self._key(home, name, reader, alone=len(logs) == 1)
            yield Source(paths, shown, key, reader.name)
        yield from tables

    def _key(self, relative: str, name: str, reader: Reader, *, alone: bool) -> str:
        """Give the key of a log; once given it stays, also when other logs appear beside it, or another reader takes it."""
        identity = (relative, name, "" if name else reader.name)
        if identity not in self._keys:
            key = relative if alone else f"{relative}/{PurePosixPath(name).stem if name else reader.name}"
            if key in self._taken and name:
                key = f"{relative}/{name}"
            number = 2
            while key in self._taken:
                key, number = f"{relative}/{name or reader.name} ({number})", number + 1
            self._taken.add(key)
            self._keys[identity] = key
        return self._keys[identity]

    def _reader(self, entry: Entry) -> Reader | None:
        """Give the reader of an entry.

        What was not known for certain is looked at again when it changed: the beginning of a file that is being written may
        look like something else, and a folder may get the file it is known by.
        """
        known = self._decided.get(entry.path)
        if known is not None and known[1] is Match.YES:
            return known[0]
        stamp = _stamp(entry.path)
        if known is not None and known[2] == stamp and not entry.is_folder:
            return known[0]
        reader, match = reader_for(entry, self._patterns)
        if known is not None and match is Match.NO:
            reader, match = known[:2]
        self._decided[entry.path] = (reader, match, stamp)
        return reader


def _stamp(path: Path) -> tuple[int, int]:
    """Give size and time (ns) of a file, by which it is known whether it changed."""
    try:
        info = os.stat(path)
    except OSError:
        return (-1, -1)
    return (info.st_size, info.st_mtime_ns)
