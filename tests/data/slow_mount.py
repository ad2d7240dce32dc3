"""Shows a folder through FUSE, read-only: ``python slow_mount.py FOLDER MOUNT``. Stopped by a signal, it is a stalling disk.

It speaks the kernel's own protocol over ``/dev/fuse`` (``include/uapi/linux/fuse.h``), so that nothing needs to be installed;
it needs the right to mount. Nothing is cached: whoever looks below MOUNT while this process is stopped waits, as on a network
disk whose server has gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH = 1, 2, 3, 14, 15, 17, 18, 25
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 26, 27, 28, 29, 36, 38, 42
HEADER = struct.Struct("<IIQQIIII")
DIRECT_IO = 1


class Shown:
    """What is shown: nodes by number, each a path below the folder."""

    def __init__(self, folder: str) -> None:
        self.paths = {1: folder}
        self.numbers = {folder: 1}

    def number(self, path: str) -> int:
        if path not in self.numbers:
            self.numbers[path] = len(self.numbers) + 1
            self.paths[self.numbers[path]] = path
        return self.numbers[path]

    def attributes(self, path: str) -> bytes:
        info = os.stat(path)
        times = [divmod(one, 10**9) for one in (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns)]
        sizes = (self.number(path), info.st_size, info.st_blocks, *(whole for whole, _ in times))
        return struct.pack("<6Q", *sizes) + struct.pack(
            "<10I", *(part for _, part in times), info.st_mode, info.st_nlink, 0, 0, 0, 4096, 0
        )

    def answer(self, kind: int, node: int, body: bytes) -> bytes | None:
        """Give the answer to a request; None where none is wanted."""
        path = self.paths.get(node, "")
        if kind in (FORGET, BATCH_FORGET, INTERRUPT, DESTROY):
            return None
        if kind == INIT:
            return struct.pack("<IIIIHHIIHHI7I", 7, 19, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, 0, *[0] * 7)[:24]
        if kind == LOOKUP:
            below = os.path.join(path, os.fsdecode(body.rstrip(b"\0")))
            attributes = self.attributes(below)
            return struct.pack("<QQQQII", self.number(below), 0, 0, 0, 0, 0) + attributes
        if kind == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(path)
        if kind in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, DIRECT_IO, 0)
        if kind == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(size)
        if kind == READDIR:
            _, offset, size = struct.unpack_from("<QQI", body)
            out = b""
            for place, name in enumerate([".", "..", *sorted(os.listdir(path))][offset:], offset + 1):
                below = os.path.join(path, name)
                raw = os.fsencode(name)
                entry = struct.pack(
                    "<QQII", self.number(below), place, len(raw), stat.S_IFMT(os.stat(below).st_mode) >> 12
                )
                entry += raw + bytes(-len(raw) % 8)
                if len(out) + len(entry) > size:
                    break
                out += entry
            return out
        if kind == STATFS:
            return struct.pack("<5Q4I6I", 0, 0, 0, 0, 0, 4096, 255, 4096, 0, *[0] * 6)
        if kind in (RELEASE, RELEASEDIR, FLUSH):
            return b""
        raise OSError(errno.ENOSYS, "")


def main(folder: str, mount: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    said = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"runglass", os.fsencode(mount), b"fuse", ctypes.c_ulong(1 | 2 | 4), said):
        raise OSError(ctypes.get_errno(), "mount")
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    shown = Shown(os.path.abspath(folder))
    while True:
        try:
            request = os.read(device, 1 << 18)
        except InterruptedError:
            continue
        except OSError as error:  # it was unmounted
            if error.errno in (errno.ENODEV, errno.ENOTCONN):
                return
            if error.errno == errno.ENOENT:  # who asked does not wait any more
                continue
            raise
        _, kind, unique, node, *_ = HEADER.unpack_from(request)
        try:
            data, failed = shown.answer(kind, node, request[HEADER.size :]), 0
        except OSError as error:
            data, failed = b"", -(error.errno or errno.EIO)
        if data is not None:
            os.write(device, struct.pack("<IiQ", 16 + len(data), failed, unique) + data)


if __name__ == "__main__":
    main(*sys.argv[1:])
