"""What lies at an address, brought here as far as it is needed.

A mirror is a folder of this machine's cache that looks like the place it stands for: every file has its name there and holds
the *beginning* of what it holds elsewhere, none at first. Readers, which know files only, are handed the mirror. That keeps
each of them one thing, and it is lazy: a listing costs names; a file whose name does not tell its format costs its first
64 KiB; only a file that a reader takes is brought as a whole. Images and checkpoints stay where they are.

A mirror follows. A file that grew has its new bytes brought as a range, after its beginning and the end of what is here were
compared; one that was replaced is brought anew; one that has gone is gone here too. What was brought is kept for the next time,
up to a limit of all mirrors together.

Whatever is asked of the network is asked in a thread of its own and waited for, for so long and no longer, so that a server
that has stopped answering stops nothing here, and a cancel is heard.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .address import file_system, is_of_one_file, protocol_of, sentence, without_password
from .errors import Cancelled, ReadError
from .mirror_cache import StoredVersions, let_go, set_bytes, taken
from .progress import Progress, quiet
from .sqlite_file import SIGNATURE
from .tables import Problem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_T = TypeVar("_T")

LARGEST_BYTES = set_bytes("RUNGLASS_REMOTE_FILE_MIB", 2 << 10)
"""Files larger than this are not brought here by themselves."""

BEGINNING_BYTES = 64 << 10
_LINE_BYTES = 1 << 20
_CHUNK_BYTES = 4 << 20
_COMPARED_BYTES = 1024
_AT_ONCE = 8
_MOST_FILES = 200_000
_DEEPEST = 24
_LOOK_SECONDS = 15.0
_PATIENCE_SECONDS = 60.0
_LISTS_ALL_AT_ONCE = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "hf", "oss", "memory", "zip", "tar"}
)
_VERSIONS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "blob_id", "sha", "checksum", "Last-Modified")
_TIMES = ("LastModified", "mtime", "last_modified", "updated", "modified", "created")


@dataclass(frozen=True, slots=True)
class _Remote:
    """A file as it is listed elsewhere.

    Attributes
    ----------
    name : str
        What its file system calls it.
    size : int or None
        Bytes; None where only a request of its own would tell.
    version : str
        Changes when the file does, as far as the listing tells.
    time_ns : int
        Time of its last change since 1970; 0 where it is not known.
    """

    name: str
    size: int | None
    version: str
    time_ns: int


@dataclass
class _Connection:
    """An open file system; those that are not asynchronous inside are asked one thing at a time."""

    system: AbstractFileSystem
    path: str
    turns: threading.Lock | None = None


class Mirror:
    """A place elsewhere, and the folder here that stands for it; see the module's docstring.

    Parameters
    ----------
    address : str
        Folder, file or pattern.
    left_out : frozenset of str
        Names of folders that are not looked into.
    home : Path, optional
        Folder of all mirrors; by default in the user's cache.
    patience : float
        Seconds an answer may take.
    pause : float
        Seconds between two looks at what is there.

    Attributes
    ----------
    folder : Path
        Folder here that stands for the folder elsewhere.
    shown : str
        The address as it may be shown.
    looks : int
        How often it was listed; 0 where that was never possible.
    is_pattern : bool
        Whether the address is a pattern.
    """

    def __init__(
        self,
        address: str,
        left_out: frozenset[str] = frozenset(),
        *,
        home: Path | None = None,
        patience: float = _PATIENCE_SECONDS,
        pause: float = _LOOK_SECONDS,
    ) -> None:
        self.address = address
        self.shown = without_password(address)
        self.patience, self.pause = patience, pause
        self._left_out = left_out
        where, self._release = taken(self.shown, home)
        self.is_pattern = "*" in address or ("[" in address and protocol_of(address) not in ("http", "https"))
        self.folder = where / "files" / (local_name((self.place() or ["remote"])[-1][-100:]) or "remote")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stored = StoredVersions(where / "versions.json", self.shown)
        self._stored.load()
        self._connection: _Connection | None = None
        self._remote: dict[str, _Remote] = {}
        self._here: dict[str, int] | None = None
        self._is_file = False
        self._problems: tuple[Problem, ...] = ()
        self.looks = 0
        self._look_again = 0.0
        self._is_stalled = False
        self._failed: dict[str, int] = {}
        self._failing: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        # The files of a mirror that nobody holds any more are kept; its lock is not. This also runs at exit.
        self._closing = weakref.finalize(self, let_go, self._stored, self._release)

    def close(self) -> None:
        """Let go of the mirror: another program may use it now."""
        self._closing()

    # -- looking --------------------------------------------------------------------------------------------------------

    def refresh(self, progress: Progress = quiet) -> tuple[Problem, ...]:
        """List what is there now, unless that was done just now, and make the folder here look like it.

        Returns
        -------
        tuple of Problem
            What stands in the way. What was listed before stays as it is where nothing could be listed.

        Raises
        ------
        Cancelled
            When `progress` says so.
        """
        with self._lock:
            if time.monotonic() < self._look_again:
                return self._problems
            began = time.monotonic()
            self._is_stalled = False
            try:
                remote, refused = self._listed(progress)
                problems = (*refused, *self._laid_out(remote))
                self._tell_sizes(progress)
            except Cancelled:
                raise
            except Exception as error:
                self._connection = None
                self._problems = (Problem(self.shown, "", sentence(error)),)
            else:
                self._problems = problems
                for name in self._failing:
                    self._failed[name] = self._failed.get(name, 0) + 1
                self._failing.clear()
                self._stored.save()
                self.looks += 1
            # A listing that takes long is not asked for all the time.
            took = time.monotonic() - began
            self._look_again = time.monotonic() + max(self.pause, 5 * took)
            return self._problems

    def unknown(self) -> Iterator[Path]:
        """Give the files of which less is here than is looked at to see what they are."""
        here = self._here or {}
        for name, remote in self._remote.items():
            have = here.get(name, 0)
            if (remote.size is None and have == 0) or have < min(remote.size or 0, BEGINNING_BYTES):
                yield self.folder / name

    def place(self) -> list[str]:
        """Give the names that lead to it, that of the host or bucket first; of a pattern those before it."""
        path = _before_pattern(self.shown.rpartition("::")[2].partition("?")[0]).partition("://")[2]
        host, _, rest = path.rpartition("@")[2].partition("/")
        return [part for part in (host.partition(":")[0], *rest.split("/")) if part]

    def look_anew(self) -> None:
        """Let the next `refresh` list what is there, however short ago that was done."""
        self._look_again = 0.0

    def files(self) -> list[Path] | None:
        """Give the files here that stand for what is no folder but a file, or what matches a pattern; None for a folder."""
        return [self.folder / name for name in self._remote] if self._is_file else None

    def state(self, path: Path) -> tuple[str, int, int] | None:
        """Give address, bytes and time (ns) of a file as it is elsewhere; None where there is no such file.

        The time also moves where bringing the file failed, so that it is tried again after the next look.
        """
        name = self._name(path)
        remote = self._remote.get(name)
        if remote is None:
            return None
        told = remote.time_ns or int(hashlib.sha1(remote.version.encode()).hexdigest()[:8], 16)
        return self.shown_name(name), remote.size or 0, told + self._failed.get(name, 0)

    def shown_name(self, name: str) -> str:
        """Give the address of a file below, as it may be shown."""
        if self._is_file and len(self._remote) == 1:
            return self.shown
        return f"{_before_pattern(self.shown).rstrip('/')}/{name}"

    def address_of(self, path: Path) -> str:
        """Give the address of a file as it is opened; it may hold a password."""
        if self._is_file and len(self._remote) == 1:
            return self.address
        return f"{_before_pattern(self.address).rstrip('/')}/{self._name(path)}"

    def sizes(self, path: Path) -> tuple[int, int]:
        """Give the bytes of a file elsewhere, and of all files of its ending in its folder, as far as they are known."""
        name = self._name(path)
        folder, ending = name.rpartition("/")[0], name.rpartition(".")[2]
        beside = sum(
            one.size or 0
            for other, one in self._remote.items()
            if other.rpartition("/")[0] == folder and other.rpartition(".")[2] == ending
        )
        remote = self._remote.get(name)
        return (remote.size or 0 if remote is not None else 0), beside

    def holds(self, path: Path) -> bool:
        """Whether a path here is of this mirror."""
        return path.is_relative_to(self.folder)

    # -- bringing -------------------------------------------------------------------------------------------------------

    def glimpse(self, paths: Iterable[Path], progress: Progress = quiet) -> None:
        """Bring the beginnings of files, several at once; a file that may not be read or has gone stays empty.

        Raises
        ------
        ReadError
            When there is no answer at all.
        Cancelled
            When `progress` says so.
        """

        def bring(path: Path) -> None:
            try:
                self._bring(self._name(path), BEGINNING_BYTES, progress)
                with open(path, "rb") as file:
                    head = file.read(BEGINNING_BYTES)
                if head.startswith(SIGNATURE):  # what a database holds is seen in the whole of it
                    self.fetch([path, path.with_name(f"{path.name}-wal")], progress)
                elif path.suffix.lower() in (".csv", ".tsv") and b"\n" not in head:  # a table of thousands of columns
                    self._bring(self._name(path), _LINE_BYTES, progress)
            except Cancelled:
                raise
            except Exception as error:
                # Who asks for the whole of a file that may not be read is told why.
                if self._is_stalled or not (isinstance(error, ReadError) or is_of_one_file(error)):
                    raise ReadError(sentence(error), source=self.shown) from error

        self._each(bring, list(paths))

    def fetch(self, paths: Iterable[Path], progress: Progress = quiet) -> None:
        """Bring files as they are now, as a whole; what is here already is not brought again.

        Raises
        ------
        ReadError
            When one is too large or cannot be had.
        Cancelled
            When `progress` says so.
        """

        def bring(name: str) -> None:
            try:
                self._bring(name, None, progress)
            except Cancelled:
                raise
            except Exception as error:
                self._failing.add(name)
                if isinstance(error, ReadError):
                    raise
                raise ReadError(sentence(error), source=self.shown_name(name)) from error

        self._each(bring, [name for path in paths if (name := self._name(path)) in self._remote])

    def _bring(self, name: str, most: int | None, progress: Progress) -> None:
        remote = self._remote.get(name)
        if remote is None:
            return
        with self._locks.setdefault(name, threading.Lock()):
            remote = self._sized(name, remote, progress)
            assert remote.size is not None
            if most is None and remote.size > LARGEST_BYTES:
                most_gib = LARGEST_BYTES / 2**30
                raise ReadError(
                    f"It has {remote.size / 2**30:,.1f} GiB; files elsewhere are brought up to {most_gib:,.1f} GiB. "
                    "Copy it here yourself, or set RUNGLASS_REMOTE_FILE_MIB.",
                    source=self.shown_name(name),
                )
            path = self.folder / name
            have = _size(path)
            wanted = remote.size if most is None else min(remote.size, most)
            is_same = self._stored.versions.get(name) == remote.version
            if is_same and have >= wanted:
                return
            if have and not is_same and not self._continues(remote, path, have, progress):
                part = path.with_name(f".{path.name[:200]}.runglass-part")
                try:
                    with open(part, "wb") as file:
                        self._copy(remote, file, 0, wanted, progress)
                    os.replace(part, path)
                finally:
                    part.unlink(missing_ok=True)
            elif have < wanted:
                with open(path, "ab") as file:
                    self._copy(remote, file, have, wanted, progress)
            self._stored.versions[name] = remote.version
            if self._here is not None:
                self._here[name] = _size(path)
            if remote.time_ns:
                os.utime(path, ns=(remote.time_ns, remote.time_ns))

    def _sized(self, name: str, remote: _Remote, progress: Progress) -> _Remote:
        """Give a file with its size, which some listings do not tell."""
        if remote.size is not None:
            return remote
        told = _told(remote.name, self._ask(lambda system: system.info(remote.name), progress))
        if told.size is None:
            raise ReadError("Its server does not tell how large it is.", source=self.shown_name(name))
        self._remote[name] = told
        return told

    def _tell_sizes(self, progress: Progress) -> None:
        """Ask again for the sizes of files that are here, where a listing does not tell them."""

        def ask(name: str) -> None:
            with suppress(ReadError, FileNotFoundError, PermissionError):
                self._sized(name, self._remote[name], progress)

        self._each(
            ask, [name for name, one in self._remote.items() if one.size is None and (self._here or {}).get(name)]
        )

    def _continues(self, remote: _Remote, path: Path, have: int, progress: Progress) -> bool:
        """Whether a file of another version than the one here only grew."""
        if remote.size is None or remote.size < have:
            return False
        with open(path, "rb") as file:
            head = file.read(_COMPARED_BYTES)
            if head.startswith(SIGNATURE):
                return False  # its pages change where they are
            file.seek(max(0, have - _COMPARED_BYTES))
            tail = file.read(_COMPARED_BYTES)
        if self._range(remote.name, 0, len(head), progress) != head:
            return False
        return have <= _COMPARED_BYTES or self._range(remote.name, have - len(tail), have, progress) == tail

    def _copy(self, remote: _Remote, file: Any, start: int, end: int, progress: Progress) -> None:
        while start < end:
            data = self._range(remote.name, start, min(end, start + _CHUNK_BYTES), progress, is_more_welcome=True)
            if not data:
                return  # it has become shorter; the next look tells
            file.write(data)
            start += len(data)
            progress(start, end, remote.name)

    def _range(self, name: str, start: int, end: int, progress: Progress, *, is_more_welcome: bool = False) -> bytes:
        """Give some bytes of a file; fewer where it has fewer, and more where that is welcome and they come anyway."""

        def ask(system: AbstractFileSystem) -> bytes:
            if protocol_of(self.address) in ("sftp", "ssh"):
                # What it calls cat_file always reads the whole file.
                with system.open(name, "rb") as file:
                    file.seek(start)
                    return bytes(file.read(end - start))
            data = bytes(system.cat_file(name, start=start, end=end))
            # A server that knows no ranges gives the whole file.
            if len(data) <= end - start:
                return data
            return data[start:] if is_more_welcome else data[start:end]

        return self._ask(ask, progress)

    # -- asking ---------------------------------------------------------------------------------------------------------

    def _ask(self, ask: Callable[[AbstractFileSystem], _T], progress: Progress) -> _T:
        """Give what the file system answers.

        Raises
        ------
        ReadError
            When it does not answer in time; until the next look it is then not asked again.
        Cancelled
            When `progress` says so.
        """
        if self._is_stalled:
            raise ReadError("It does not answer; it will be tried again.", source=self.shown)
        answers: list[_T] = []
        failures: list[BaseException] = []
        answered = threading.Event()

        def work() -> None:
            try:
                connection = self._connected()
                if connection.turns is None:
                    answers.append(ask(connection.system))
                else:
                    with connection.turns:
                        answers.append(ask(connection.system))
            except BaseException as error:  # it is raised where it is waited for
                failures.append(error)
            finally:
                answered.set()

        # A daemon: where there is no answer it must not keep the program from ending.
        threading.Thread(target=work, name="remote", daemon=True).start()
        until = time.monotonic() + self.patience
        while not answered.wait(0.1):
            progress(0, 0)
            if time.monotonic() > until:
                self._is_stalled = True
                self._connection = None
                raise ReadError(
                    f"It has not answered for {self.patience:.0f} s; it will be tried again.", source=self.shown
                )
        if failures:
            raise failures.pop()
        return answers[0]

    def _connected(self) -> _Connection:
        connection = self._connection
        if connection is None:
            system, path = file_system(self.address)
            turns = None if getattr(system, "async_impl", False) else threading.Lock()
            connection = self._connection = _Connection(system, path, turns)
        return connection

    def _each(self, do: Callable[[Any], _T], items: list[Any]) -> list[_T]:
        """Give what `do` gives for each item; several are asked for at once."""
        if len(items) < 2:
            return [do(item) for item in items]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="mirror") as pool:
            try:
                return list(pool.map(do, items))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # the others would fail alike, each in its time
                raise

    # -- listing --------------------------------------------------------------------------------------------------------

    def _listed(self, progress: Progress) -> tuple[dict[str, _Remote], list[Problem]]:
        """Give all files by their names below the folder, and the names that cannot be taken over."""

        def begin(system: AbstractFileSystem) -> str:
            system.invalidate_cache()
            return self._connected().path

        path = self._ask(begin, progress)
        if self.is_pattern:
            top = _before_pattern(path)
            found = self._ask(lambda system: system.glob(path, detail=True), progress)
            if not found:
                raise FileNotFoundError(path)
            infos: list[Mapping[str, Any]] = []
            folders: list[Mapping[str, Any]] = []
            for name, info in found.items():
                if info.get("type") == "directory":
                    folders.append({**info, "name": name})
                else:
                    infos += self._regular({**info, "name": name}, progress)
            for several in self._each(lambda info: self._below(str(info["name"]), progress), folders):
                infos += several
            self._is_file = not folders
        else:
            info = self._ask(lambda system: system.info(path), progress)
            self._is_file = info.get("type") == "file" and not self.address.endswith("/")
            top = path.rpartition("/")[0] if self._is_file else path
            infos = [{**info, "name": path}] if self._is_file else self._below(path, progress)
        return self._named(infos, top)

    def _below(self, path: str, progress: Progress) -> list[Mapping[str, Any]]:
        """Give all files below a folder."""
        if protocol_of(self.address) in _LISTS_ALL_AT_ONCE:
            found = self._ask(lambda system: system.find(path, detail=True), progress)
            return [{**info, "name": name} for name, info in found.items()]
        infos: list[Mapping[str, Any]] = []
        folders = [path]
        for _ in range(_DEEPEST):
            listings = self._each(
                lambda folder: self._ask(lambda system: system.ls(folder, detail=True), progress), folders
            )
            folders = []
            for info in (one for listing in listings for one in listing):
                name = str(info["name"]).rstrip("/")
                if info.get("type") != "directory":
                    infos += self._regular({**info, "name": name}, progress)
                elif name.rpartition("/")[2] not in self._left_out:
                    folders.append(name)
            if not folders or len(infos) > _MOST_FILES:
                break
        return infos

    def _regular(self, info: Mapping[str, Any], progress: Progress) -> list[Mapping[str, Any]]:
        """Give a file, also where a link leads to one; a link to a folder is not followed, nor is a pipe a file."""
        if info.get("type") == "link":
            name = info["name"]
            try:
                info = {**self._ask(lambda system: system.info(name), progress), "name": name}
            except (FileNotFoundError, PermissionError):
                return []
        return [info] if info.get("type") == "file" else []

    def _named(self, infos: Iterable[Mapping[str, Any]], top: str) -> tuple[dict[str, _Remote], list[Problem]]:
        """Give files by safe names below the folder; a name that would lead out of it is refused."""
        remote: dict[str, _Remote] = {}
        problems = []
        known: set[str] = set()
        top = top.rstrip("/")
        for info in infos:
            name = str(info["name"])
            relative = name[len(top) + 1 :]
            if not name.startswith(f"{top}/"):
                continue  # the folder itself, or a link that leads elsewhere
            local = local_name(
                relative.partition("?")[0] if protocol_of(self.address) in ("http", "https") else relative
            )
            if not self._left_out.isdisjoint(relative.split("/")[:-1]) or name.endswith("/"):
                continue
            folded = local.casefold() if sys.platform in ("win32", "darwin") else local
            if not local or folded in known:
                # A name such as ../../.bashrc leads out of the folder.
                what = "Its name cannot be that of a file here; it is left out."
                problems.append(Problem(f"{_before_pattern(self.shown).rstrip('/')}/{relative}", "", what))
                continue
            if len(remote) >= _MOST_FILES:
                what = f"It holds more than {_MOST_FILES:,} files, of which the first are read: open a folder further down."
                problems.append(Problem(self.shown, "", what))
                break
            known.add(folded)
            remote[local] = _told(name, info)
        return remote, problems

    def _laid_out(self, remote: dict[str, _Remote]) -> list[Problem]:
        """Make the folder here hold the files listed, and no others; give those it cannot hold."""
        problems = []
        if self._here is None:
            self._here = self._found_here()
        for name in self._here.keys() - remote.keys():
            path = self.folder / name
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):  # until one is not empty
                for above in path.parents:
                    if above == self.folder:
                        break
                    above.rmdir()
            del self._here[name]
            self._stored.versions.pop(name, None)
        made: set[str] = set()
        for name in [name for name in remote if name not in self._here]:
            self._stored.versions.pop(name, None)
            place = f"{self.folder}/{name}"
            parent = place.rpartition("/")[0]
            try:
                if parent not in made:
                    os.makedirs(parent, exist_ok=True)
                    made.add(parent)
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
            except OSError as error:  # a key may be both a file and a folder; a name may be too long
                del remote[name]
                what = f"Its name cannot be that of a file here ({error.strerror}); it is left out."
                problems.append(Problem(self.shown_name(name), "", what))
            else:
                self._here[name] = 0
        self._remote = remote
        return problems

    def _found_here(self) -> dict[str, int]:
        """Give the files that were kept from the last time, with their sizes."""
        found: dict[str, int] = {}
        for above, _, names in os.walk(self.folder):
            for file in names:
                path = Path(above) / file
                found[path.relative_to(self.folder).as_posix()] = _size(path)
        return found

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def local_name(relative: str) -> str:
    """Give the path below a mirror for a path elsewhere; empty where it could lead out of it or be no name.

    On Windows, characters that names cannot have there are written as ``%3A``.
    """
    parts = relative.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return ""
    if sys.platform == "win32":
        parts = [_on_windows(part) for part in parts]
    return "/".join(parts)


def _on_windows(name: str) -> str:
    name = re.sub(r'[<>:"\\|?*\x00-\x1f]', lambda found: f"%{ord(found[0]):02X}", name)
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return name[:-1] + f"%{ord(name[-1]):02X}" if name[-1] in ". " else name


_mirrors: weakref.WeakValueDictionary[str, Mirror] = weakref.WeakValueDictionary()
_mirrors_lock = threading.Lock()


def mirror_of(address: str, left_out: frozenset[str] = frozenset()) -> Mirror:
    """Give the mirror of an address: all who read it in this program share one."""
    with _mirrors_lock:
        mirror = _mirrors.get(address)
        if mirror is None:
            mirror = _mirrors[address] = Mirror(address, left_out)
        return mirror


def _told(name: str, info: Mapping[str, Any]) -> _Remote:
    """Give what a listing tells of a file."""
    size = info.get("size")
    changed = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    known = isinstance(size, int | float) and size >= 0
    return _Remote(name, int(size) if known else None, f"{version} {changed or ''} {size}", _time_ns(changed))  # type: ignore[arg-type]


def _time_ns(changed: Any) -> int:
    if isinstance(changed, str):
        try:
            changed = datetime.fromisoformat(changed)
        except ValueError:
            return 0
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return int(changed * 1e9) if isinstance(changed, int | float) and 0 < changed < 1e11 else 0


def _before_pattern(path: str) -> str:
    """Give the part of a path that is no pattern."""
    found = re.search(r"[*\[]", path)
    return path if found is None else path[: found.start()].rpartition("/")[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
