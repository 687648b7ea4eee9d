"""
The frames between the runner and the shim, PID 1 of every worker container.

A frame is a type byte, the length of its payload (u32), and the payload; all numbers are
little endian.  The list of frames is the comment at the top of shim/shim.c, the other end.
No input or output happens here.

Invariants:

- between a run request and its DONE the shim sends OUT, ERR and WANT only;
- the runner sends one INPUT for each WANT, so a CANCEL never waits behind input;
- an INPUT or CANCEL that crosses with a DONE is ignored by the shim, so frames carry no run id.
"""

from __future__ import annotations

import enum
import errno
import os
import signal
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

VERSION = 1
INPUT_PIECE = 65536  # what a pipe holds
REQUEST_LIMIT = 16 << 20  # REQUEST_BYTES of the shim
OUTPUT_LIMIT = 65536  # OUTPUT_BYTES of the shim: a longer frame is no frame of ours

_HEADER = struct.Struct("<BI")
_RUN = struct.Struct("<IIIII")
_DONE = struct.Struct("<BBBBIqqqqq")
_U32 = struct.Struct("<I")
_MORE_INPUT = 1
_TIMED_OUT, _CANCELLED, _OUT_OF_MEMORY = 1, 2, 4
_MILLISECONDS = 0xFFFF_FFFF


class FrameType(enum.IntEnum):
    """The first byte of a frame."""

    HELLO = ord("H")
    OUT = ord("O")
    ERR = ord("E")
    WANT = ord("W")
    DONE = ord("D")
    RUN = ord("R")
    INPUT = ord("I")
    CANCEL = ord("C")


class Stage(enum.IntEnum):
    """Where starting a command failed."""

    FORK = 1
    USER = 2
    CHDIR = 3
    EXEC = 4
    INTERPRETER = 5


class Kind(enum.IntEnum):
    """How a command ended."""

    EXITED = 0
    SIGNALLED = 1
    NOT_STARTED = 2


class ProtocolError(Exception):
    """The other end does not speak this protocol: a shim built from other source."""


@dataclass(frozen=True, slots=True)
class Command:
    """
    One run of a program in a worker.

    `env` is laid over the image's own environment and the worker's.  `cwd` and `user` None mean
    the image's.  `user` is "uid", "uid:gid", "name" or "name:group" of the image's own
    /etc/passwd.  After `timeout_s` everything in the container gets SIGTERM, `grace_s` later
    SIGKILL.
    """

    argv: Sequence[str | bytes]
    stdin: bytes = b""
    env: Mapping[str, str] | None = None
    cwd: str | bytes | None = None
    user: str | None = None
    timeout_s: float | None = None
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ExecError:
    """A command that could not be started: where that failed, on which file, and why."""

    stage: Stage
    path: str
    errno: int

    def __str__(self) -> str:
        reason = os.strerror(self.errno)
        match self.stage:
            case Stage.FORK:
                return f"cannot start a process for {self.path}: {reason}"
            case Stage.USER:
                return f"cannot run as user {self.path}: " + (
                    "the image has no such user or group" if self.errno == errno.ENOENT else reason
                )
            case Stage.CHDIR:
                return f"cannot enter the working directory {self.path}: {reason}"
            case Stage.EXEC:
                return f"cannot run {self.path}: {reason}"
            case Stage.INTERPRETER:
                return f"cannot run {self.path}: its interpreter or loader is not in the image"


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a run ended.  Exactly one of `exit_code` and `signal` is set.

    A command that could not be started has `exec_error`, and the exit code that a shell would
    give: 127 for a program that is not there, else 126.  `out_of_memory` tells that the kernel
    killed a process of the run because the container reached its limit.  Times and the peak of
    memory are sums (the maximum) over all processes of the run.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    cancelled: bool
    out_of_memory: bool
    exec_error: ExecError | None
    started_ns: int
    finished_ns: int
    user_s: float
    system_s: float
    max_rss_bytes: int

    @property
    def ok(self) -> bool:
        """Tell whether the command exited with 0 by itself."""
        return self.exit_code == 0 and not self.timed_out and not self.cancelled

    def __str__(self) -> str:
        if self.exec_error:
            return str(self.exec_error)
        how = (
            f"exit code {self.exit_code}" if self.signal is None else f"killed by {_signal_name(self.signal)}"
        )
        if self.out_of_memory:
            how += ", out of memory"
        return f"timed out ({how})" if self.timed_out else how


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame."""

    type: FrameType
    payload: bytes


class FrameReader:
    """Cut a stream of bytes, fed in any pieces, into frames."""

    def __init__(self, limit: int = OUTPUT_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer += data

    def next(self) -> Frame | None:
        """Take the next whole frame, or None until more is fed."""
        if len(self._buffer) < _HEADER.size:
            return None
        kind, length = _HEADER.unpack_from(self._buffer)
        if length > self._limit:
            raise ProtocolError(f"a frame of {length} bytes; at most {self._limit} are allowed")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        try:
            frame_type = FrameType(kind)
        except ValueError:
            raise ProtocolError(f"a frame of unknown type {kind:#x}") from None
        payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
        del self._buffer[:end]
        return Frame(frame_type, payload)

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next()) is not None:
            yield frame


def encode(frame_type: FrameType, payload: bytes = b"") -> bytes:
    """Make the bytes of a frame."""
    return _HEADER.pack(frame_type, len(payload)) + payload


def encode_run(command: Command, *, env: Mapping[str, str], cwd: str | bytes, user: str) -> bytes:
    """
    Make the frame that starts *command* in the environment *env*, complete but for HOME.

    It carries the first INPUT_PIECE bytes of standard input; the rest is asked for by WANT.
    Raises ValueError for what no process can be given: a NUL byte, no program, or too much.
    """
    if not command.argv:
        raise ValueError("a command needs a program to run")
    arguments = [os.fsencode(argument) for argument in command.argv]
    variables = [os.fsencode(f"{name}={value}") for name, value in env.items()]
    strings = [os.fsencode(cwd), os.fsencode(user), *arguments, *variables]
    if any(b"\0" in string for string in strings):
        raise ValueError("an argument, variable, directory or user name contains a NUL byte")
    first = command.stdin[:INPUT_PIECE]
    numbers = _RUN.pack(
        _milliseconds(command.timeout_s),
        _milliseconds(command.grace_s),
        _MORE_INPUT if len(command.stdin) > len(first) else 0,
        len(arguments),
        len(variables),
    )
    payload = b"".join((numbers, *(string + b"\0" for string in strings), first))
    if len(payload) > REQUEST_LIMIT:
        raise ValueError(f"arguments and environment of {len(payload)} bytes; no process can take so many")
    return encode(FrameType.RUN, payload)


def encode_cancel(grace_s: float) -> bytes:
    """Make the frame that ends what runs: SIGTERM, and SIGKILL after *grace_s* (0: at once)."""
    return encode(FrameType.CANCEL, _U32.pack(_milliseconds(grace_s)))


def decode_hello(frame: Frame) -> None:
    """Check that the shim speaks our version."""
    if frame.type is not FrameType.HELLO or len(frame.payload) != _U32.size:
        raise ProtocolError("the shim did not begin with a hello")
    (version,) = _U32.unpack(frame.payload)
    if version != VERSION:
        raise ProtocolError(f"the shim speaks version {version} of the protocol, the runner {VERSION}")


def decode_done(payload: bytes) -> Outcome:
    """Read how a run ended."""
    if len(payload) < _DONE.size:
        raise ProtocolError("a report of the end that is cut off")
    kind, flags, stage, _, value, started, finished, user_us, system_us, rss = _DONE.unpack_from(payload)
    try:
        kind = Kind(kind)
        failure = (
            ExecError(Stage(stage), os.fsdecode(payload[_DONE.size :]), value)
            if kind is Kind.NOT_STARTED
            else None
        )
    except ValueError as error:
        raise ProtocolError(f"a report of the end with unknown values: {error}") from None
    exit_code = value if kind is Kind.EXITED else None
    if failure:
        exit_code = 127 if failure.stage is Stage.EXEC and failure.errno == errno.ENOENT else 126
    return Outcome(
        exit_code=exit_code,
        signal=value if kind is Kind.SIGNALLED else None,
        timed_out=bool(flags & _TIMED_OUT),
        cancelled=bool(flags & _CANCELLED),
        out_of_memory=bool(flags & _OUT_OF_MEMORY),
        exec_error=failure,
        started_ns=started,
        finished_ns=finished,
        user_s=user_us / 1e6,
        system_s=system_us / 1e6,
        max_rss_bytes=rss,
    )


def _milliseconds(seconds: float | None) -> int:
    """Round up, so that a short time is not none at all; 0 stands for None."""
    if not seconds or seconds <= 0:
        return 0
    return min(-int(-seconds * 1000 // 1), _MILLISECONDS)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
