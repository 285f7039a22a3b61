# pyright: reportUnknownMemberType=false, reportAttributeAccessIssue=false
"""A disk that is slow, or hangs, for one process: its system calls on the files of a folder wait in the kernel.

By seccomp's user notification (seccomp_unotify(2)): the kernel holds a thread that makes one of the calls until another
process lets it go on. To the one whose thread it is that is a disk: `open`, `read`, `rename` and `fsync` do not
return, and no timeout of Python ends them. It needs no root, no module and no compiler, only Linux from 5.5 on.
"""

import ctypes
import mmap
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

NUMBERS: dict[str, tuple[int, dict[str, tuple[int, ...]]]] = {
    "x86_64": (0xC000003E, {"open": (257,), "read": (0,), "rename": (82, 264, 316), "fsync": (74,), "seccomp": (317,)}),
    "aarch64": (0xC00000B7, {"open": (56,), "read": (63,), "rename": (38, 276), "fsync": (82,), "seccomp": (277,)}),
}
"""The architecture as the kernel calls it, and its numbers of the calls."""
RENAME = 82
"""Of the calls above the one, of the one architecture, that has no `at` in its name."""
DIE_WITH_PARENT, NO_NEW_PRIVILEGES, SET_FILTER, NEW_LISTENER = 1, 38, 1, 8
LOAD, EQUAL, RETURN, ALLOW, NOTIFY = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FC00000
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
NOTICE, ANSWER = struct.Struct("QIIiIQ6Q"), struct.Struct("QqiI")


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def can_be_slow() -> bool:
    """Tell whether this system can do that, by trying it in a process of its own."""
    if sys.platform != "linux" or platform.machine() not in NUMBERS:
        return False
    trial = f"from {__name__} import SlowDisk; SlowDisk('/nowhere', {{'fsync': 0}}).start()"
    return subprocess.run([sys.executable, "-c", trial], capture_output=True, check=False).returncode == 0


class SlowDisk:
    """Delays calls on files below `folder`, by name, for so many seconds. To be started before there are other threads.

    Then this process is two: the one that goes on, and its parent, which does no more than hold up the other's calls
    and end as that ends. A thread could not: the other threads' calls may hold the interpreter's lock.
    """

    def __init__(self, folder: str, delays: Mapping[str, float]) -> None:
        self._folder, self._delays = folder, dict(delays)
        self._architecture, numbers = NUMBERS[platform.machine()]
        self._names = {number: name for name in delays for number in numbers[name]}
        self._seccomp = numbers["seccomp"][0]
        self._library = ctypes.CDLL(None, use_errno=True)
        self._shared = mmap.mmap(-1, 2)

    @property
    def was_felt(self) -> bool:
        """Whether a call was delayed."""
        return self._shared[0] == 1

    def heal(self) -> None:
        """Be quick, at once and for good."""
        self._shared[1] = 1

    def start(self) -> None:
        """From now on this process has a slow disk. There is no way back."""
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child:
            self._watch(child, ours)
        self._check(self._library.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0))
        self._check(self._library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        filters = self._filter()
        program = Program(len(filters) // 8, filters)
        listener = self._library.syscall(self._seccomp, SET_FILTER, NEW_LISTENER, ctypes.byref(program))
        self._check(listener)
        socket.send_fds(theirs, [b"it"], [listener])
        os.close(listener)

    def _filter(self) -> bytes:
        numbers = list(self._names)
        lines = [(LOAD, 0, 0, 4), (EQUAL, 0, len(numbers) + 1, self._architecture), (LOAD, 0, 0, 0)]
        lines += [(EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
        lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOTIFY)]
        return b"".join(struct.pack("HBBI", *line) for line in lines)

    def _watch(self, child: int, channel: socket.socket) -> NoReturn:
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)

    def _answer(self, channel: socket.socket) -> None:
        listener = socket.recv_fds(channel, 2, 1)[1][0]
        while True:
            notice = ctypes.create_string_buffer(NOTICE.size)
            if self._library.ioctl(listener, ctypes.c_ulong(RECEIVE), notice) < 0:
                time.sleep(0.01)  # who asked is gone
                continue
            number, thread, _, call, _, _, first, second, *_ = NOTICE.unpack(notice.raw)
            name = self._names[call]
            seconds = (
                self._delays[name] if self._is_ours(thread, name, first if call == RENAME else second, first) else 0
            )
            threading.Thread(target=self._hold, args=(listener, number, seconds), daemon=True).start()

    def _is_ours(self, thread: int, name: str, address: int, descriptor: int) -> bool:
        """Tell whether the call is about a file of the folder: by its descriptor, or by the path at an address."""
        try:
            if name in ("read", "fsync"):
                path = str(Path(f"/proc/{thread}/fd/{descriptor}").readlink())
            else:
                with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - is no file
                    memory.seek(address)
                    path = os.fsdecode(memory.read(4096).partition(b"\0")[0])
        except OSError:
            return False
        return path.startswith(self._folder)

    def _hold(self, listener: int, number: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._shared[1] and time.monotonic() < end:
            self._shared[0] = 1
            time.sleep(0.01)
        answer = ctypes.create_string_buffer(ANSWER.pack(number, 0, 0, CONTINUE), ANSWER.size)
        self._library.ioctl(listener, ctypes.c_ulong(SEND), answer)

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
