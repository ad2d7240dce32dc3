"""Where nothing can be written, without any network, and watched by the kernel: all opens, and nothing is written.

Each needs a right that a sandbox may refuse (namespaces, tracing); where it does, the test says so and is skipped.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runglass.resources import demo_folder

DATA = Path(__file__).parents[1] / "data"
FORMATS = sorted(path for path in DATA.iterdir() if (path / "make.py").is_file())
LONG = 240

WINDOW = """
import sys
from pathlib import Path
from PySide6.QtWidgets import QApplication
from PySide6.QtCore import QTimer
from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
app = QApplication([])
home = Path(sys.argv[1])
window = MainWindow(Settings(home / "settings.ini"), autosave=home / "autosave.json")
window.show()
runs = []
def loaded():
    runs.append(len(window.workspace.now.all.runs) + len(window.workspace.now.all.problems))
    QTimer.singleShot(1500, lambda: (window.close(), app.quit()))
window.feed.loaded.connect(loaded)
QTimer.singleShot(200000, app.quit)
window.open(sys.argv[2:])
app.exec()
print("window:", runs)
sys.exit(not (runs and runs[0]))
"""


def run(words: list[str], folder: Path, seconds: int = LONG) -> subprocess.CompletedProcess[str]:
    given = {
        "QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": str(folder / "config"), "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, check=False, env=os.environ | given, cwd=folder
    )


def app(*words: object) -> list[str]:
    return [sys.executable, "-m", "runglass", *map(str, words)]


def require(words: list[str], folder: Path, what: str) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{what} needs {words[0]}, which is not installed")
    tried = run([*words, "true"], folder, 30)
    if tried.returncode:
        pytest.skip(f"{what} is not allowed here: {tried.stderr.strip()[:200]}")


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def opened(tmp_path):
    """Every fixture and the sample project, in a folder of their own."""
    folder = tmp_path / "opened"
    for one in FORMATS:
        shutil.copytree(one, folder / one.name, ignore=shutil.ignore_patterns("make.py"))
    shutil.copytree(demo_folder(), folder / "demo")
    return folder


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.slow
def test_that_everything_opens_where_the_file_system_cannot_be_written(opened, home):
    before = state(opened)
    here = shlex.quote(str(opened))
    mount = f"mount --bind {here} {here} && mount -o remount,bind,ro {here}"
    require(["unshare", "-rm", "--"], home, "a mount of one's own")
    inside = [
        mount,
        f"! touch {shlex.quote(str(opened / 'written'))} 2>/dev/null",
        shlex.join(app("inspect", opened)) + f" > {home}/inspected || test $? = 4",
        shlex.join(app("report", opened / "demo", "--ask", "compat.flips", "-o", home / "report")) + " > /dev/null",
        shlex.join([sys.executable, "-c", WINDOW, str(home), str(opened)]),
    ]
    ended = run(["unshare", "-rm", "--", "sh", "-ec", "\n".join(inside)], home)
    assert ended.returncode == 0, ended.stderr[-2000:]
    runs = int(re.findall(r"^([\d,]+) runs", (home / "inspected").read_text(), re.MULTILINE)[0].replace(",", ""))
    assert runs > 40
    assert f"window: [{runs}" in ended.stdout or int(re.findall(r"window: \[(\d+)", ended.stdout)[0]) >= runs
    assert (home / "report" / "report.html").is_file()
    assert state(opened) == before


@pytest.mark.slow
def test_that_nothing_asks_for_a_network_where_there_is_none(home):
    require(["unshare", "-rn", "--"], home, "a network of one's own")
    for words in (
        app("report", demo_folder(), "--ask", "compat.flips", "-o", home / "report"),
        [sys.executable, "-c", WINDOW, str(home), str(demo_folder())],
    ):
        ended = run(["unshare", "-rn", "--", *words], home)
        assert ended.returncode == 0, ended.stderr[-2000:]


WRITING = re.compile(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)")
CHANGING = (
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,truncate,ftruncate,chmod,"
    "fchmod,fchmodat,chown,fchown,fchownat,lchown,utimensat,utime,utimes,futimesat,setxattr,lsetxattr,fsetxattr,mknod,mknodat,creat"
)


def calls(traced: Path) -> list[str]:
    """Give the system calls of a trace of all threads, those that were interrupted put together again."""
    found, begun = [], {}
    for line in traced.read_text(errors="replace").splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
        elif (match := re.match(r"<\.\.\. \w+ resumed>(.*)", call)) is not None:
            found.append(begun.pop(thread, "") + match.group(1))
        else:
            found.append(call)
    return found


def traced(words: list[str], home: Path, kinds: str) -> list[str]:
    require(["strace", "-f", "-o", str(home / "tried")], home, "tracing")
    log = home / "trace"
    ended = run(["strace", "-f", "-qq", "-s", "4096", "-e", f"trace={kinds}", "-o", str(log), *words], home)
    assert ended.returncode in (0, 4), ended.stderr[-2000:]
    return calls(log)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inspect", "window"])
def test_that_the_kernel_sees_nothing_opened_for_writing_below_what_was_opened(opened, home, how):
    words = app("inspect", opened) if how == "inspect" else [sys.executable, "-c", WINDOW, str(home), str(opened)]
    seen = [call for call in traced(words, home, f"open,openat,openat2,{CHANGING}") if str(opened) in call]
    opens = [call for call in seen if call.startswith("open")]
    assert len(opens) > 100
    assert not [call for call in opens if WRITING.search(call)]
    assert not [call for call in seen if not call.startswith("open")]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inspect", "window"])
def test_that_the_kernel_sees_no_socket_but_local_ones(home, how):
    words = (
        app("inspect", demo_folder())
        if how == "inspect"
        else [sys.executable, "-c", WINDOW, str(home), str(demo_folder())]
    )
    sockets = [call for call in traced(words, home, "socket,connect,sendto,bind") if not call.startswith("sendto")]
    assert not [call for call in sockets if "AF_INET" in call]


def test_that_the_trace_would_show_a_write_and_a_socket(opened, home):
    deed = f"open({str(opened / 'written')!r}, 'w').close(); import socket; socket.socket()"
    found = traced([sys.executable, "-c", deed], home, "openat,socket")
    assert [call for call in found if str(opened) in call and WRITING.search(call)]
    assert [call for call in found if "AF_INET" in call]


@pytest.mark.slow
def test_that_a_disk_that_is_full_keeps_the_old_figure_and_is_said_in_a_line(home):
    require(["unshare", "-rm", "--"], home, "a mount of one's own")
    disk, figure = home / "disk", home / "disk" / "flips.svg"
    disk.mkdir()
    asked = app("ask", "compat.flips", demo_folder(), "--figure", figure)
    inside = [
        f"mount -t tmpfs -o size=16k none {shlex.quote(str(disk))}",
        f"printf 'the old one' > {figure}",
        f"head -c 12288 /dev/zero > {disk}/filling",
        f"if {shlex.join(asked)} > /dev/null 2> {home}/said; then exit 9; fi",
        f"test \"$(cat {figure})\" = 'the old one'",
        f'test "$(ls -A {disk})" = "filling\nflips.svg"',
    ]
    ended = run(["unshare", "-rm", "--", "sh", "-ec", "\n".join(inside)], home)
    said = (home / "said").read_text()
    assert ended.returncode == 0, ended.stderr[-2000:] + said
    assert "No space left on device" in said
    assert "Traceback" not in said
