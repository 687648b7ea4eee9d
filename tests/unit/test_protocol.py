"""The frames between the runner and the shim."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.containers.protocol import (
    INPUT_PIECE,
    OUTPUT_LIMIT,
    REQUEST_LIMIT,
    VERSION,
    Command,
    Frame,
    FrameReader,
    FrameType,
    ProtocolError,
    Stage,
    decode_done,
    decode_hello,
    encode,
    encode_cancel,
    encode_run,
)

frames = st.lists(st.builds(Frame, st.sampled_from(FrameType), st.binary(max_size=100)), max_size=8)


def _done(kind: int, value: int, *, flags: int = 0, stage: int = 0, path: bytes = b"") -> bytes:
    numbers = struct.pack("<BBBBIqqqqq", kind, flags, stage, 0, value, 1000, 3000, 1_500_000, 250_000, 4096)
    return numbers + path


def _run(command: Command) -> bytes:
    return encode_run(command, env={"A": "1"}, cwd="/work", user="me")


@given(frames, st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(sent: list[Frame], piece: int) -> None:
    """
    The socket delivers a stream of frames in pieces of any size.
    """
    stream = b"".join(encode(frame.type, frame.payload) for frame in sent)
    reader = FrameReader()

    got = []
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])
        got += list(reader)

    assert sent == got
    assert reader.next() is None


def test_a_frame_that_is_not_whole_is_waited_for() -> None:
    """
    The last byte of a frame has not arrived yet.
    """
    reader = FrameReader()
    reader.feed(encode(FrameType.OUT, b"abc")[:-1])

    assert reader.next() is None
    reader.feed(b"c")
    assert Frame(FrameType.OUT, b"abc") == reader.next()


def test_a_longer_frame_than_any_shim_sends_is_refused() -> None:
    """
    Something else than a shim is at the other end and names an absurd length.
    """
    reader = FrameReader()
    reader.feed(struct.pack("<BI", FrameType.OUT, OUTPUT_LIMIT + 1))

    with pytest.raises(ProtocolError, match=str(OUTPUT_LIMIT)):
        reader.next()


def test_a_frame_of_unknown_type_is_refused() -> None:
    """
    A shim of another version sends a frame that this runner does not know.
    """
    reader = FrameReader()
    reader.feed(struct.pack("<BI", ord("?"), 0))

    with pytest.raises(ProtocolError, match="unknown type 0x3f"):
        reader.next()


def test_a_run_request_holds_numbers_then_strings_then_the_beginning_of_the_input() -> None:
    """
    The layout that the comment at the top of shim.c promises.
    """
    request = _run(Command(["sh", "-c", ""], stdin=b"in", timeout_s=1.5, grace_s=0.25))

    numbers = struct.pack("<IIIII", 1500, 250, 0, 3, 1)
    payload = numbers + b"/work\0me\0sh\0-c\0\0A=1\0" + b"in"
    assert struct.pack("<BI", ord("R"), len(payload)) + payload == request


def test_input_beyond_the_first_piece_is_announced_and_not_sent() -> None:
    """
    Standard input is larger than a pipe, so the rest goes when the shim wants it.
    """
    request = _run(Command(["cat"], stdin=b"x" * (INPUT_PIECE + 1)))

    assert 1 == struct.unpack_from("<I", request, 5 + 8)[0]
    assert INPUT_PIECE == request.count(b"x")


def test_arguments_that_are_no_unicode_go_through_as_bytes() -> None:
    """
    File names on Linux are bytes, so arguments are too.
    """
    assert b"cat\0\xff\xfe\0" in _run(Command(["cat", b"\xff\xfe"]))


@pytest.mark.parametrize("timeout_s, milliseconds", [(None, 0), (0.0001, 1), (1, 1000), (1e12, 0xFFFFFFFF)])
def test_a_timeout_is_never_rounded_to_none(timeout_s: float | None, milliseconds: int) -> None:
    """
    Zero means no timeout in the frame, so a very short one becomes a millisecond.
    """
    request = _run(Command(["true"], timeout_s=timeout_s))

    assert milliseconds == struct.unpack_from("<I", request, 5)[0]


@pytest.mark.parametrize(
    "command, reason",
    [
        (Command([]), "a program to run"),
        (Command(["echo", "a\0b"]), "NUL"),
        (Command(["echo", "x" * REQUEST_LIMIT]), "no process can take so many"),
    ],
)
def test_what_no_process_can_be_given_is_refused_before_it_is_sent(command: Command, reason: str) -> None:
    """
    A request that the shim could not serve would end the container.
    """
    with pytest.raises(ValueError, match=reason):
        _run(command)


def test_a_cancel_carries_its_grace() -> None:
    """
    The runner gives the command half a second to clean up.
    """
    assert b"C" + struct.pack("<II", 4, 500) == encode_cancel(0.5)


def test_an_exit_is_decoded_with_times_and_memory() -> None:
    """
    A command exited with 3 after using the processor and memory.
    """
    outcome = decode_done(_done(0, 3))

    assert (3, None, None, False) == (outcome.exit_code, outcome.signal, outcome.exec_error, outcome.ok)
    assert (1000, 3000, 1.5, 0.25, 4096) == (
        outcome.started_ns,
        outcome.finished_ns,
        outcome.user_s,
        outcome.system_s,
        outcome.max_rss_bytes,
    )
    assert "exit code 3" == str(outcome)


def test_a_signal_is_decoded_and_named() -> None:
    """
    A command outlived its timeout and was killed.
    """
    outcome = decode_done(_done(1, 9, flags=1))

    assert (None, 9, True) == (outcome.exit_code, outcome.signal, outcome.timed_out)
    assert "timed out (killed by SIGKILL)" == str(outcome)


def test_a_lack_of_memory_is_told() -> None:
    """
    A child was killed for lack of memory and its shell exited with 137.
    """
    outcome = decode_done(_done(0, 137, flags=4))

    assert outcome.out_of_memory
    assert "exit code 137, out of memory" == str(outcome)


def test_exit_code_0_after_a_timeout_is_not_ok() -> None:
    """
    A command answers SIGTERM by exiting with 0; its work was cut off all the same.
    """
    assert not decode_done(_done(0, 0, flags=1)).ok
    assert decode_done(_done(0, 0)).ok


@pytest.mark.parametrize(
    "stage, error, exit_code, text",
    [
        (Stage.EXEC, errno.ENOENT, 127, "cannot run x: No such file"),
        (Stage.EXEC, errno.EACCES, 126, "cannot run x: Permission denied"),
        (Stage.INTERPRETER, errno.ENOENT, 126, "its interpreter or loader is not in the image"),
        (Stage.CHDIR, errno.ENOENT, 126, "cannot enter the working directory x"),
        (Stage.USER, errno.ENOENT, 126, "the image has no such user or group"),
        (Stage.FORK, errno.EAGAIN, 126, "cannot start a process for x"),
    ],
)
def test_a_command_that_could_not_be_started_says_where_and_why(
    stage: Stage, error: int, exit_code: int, text: str
) -> None:
    """
    The shim reports the stage, the file and errno; the exit code is the one a shell gives.
    """
    outcome = decode_done(_done(2, error, stage=stage, path=b"x"))

    assert exit_code == outcome.exit_code
    assert text in str(outcome)
    assert outcome.exec_error is not None
    assert (stage, "x", error) == (
        outcome.exec_error.stage,
        outcome.exec_error.path,
        outcome.exec_error.errno,
    )


@pytest.mark.parametrize("payload", [_done(0, 0)[:-1], _done(7, 0), _done(2, 2, stage=99)])
def test_a_report_that_makes_no_sense_is_refused(payload: bytes) -> None:
    """
    The report is cut off or holds values of another protocol.
    """
    with pytest.raises(ProtocolError):
        decode_done(payload)


def test_a_shim_of_another_version_is_refused() -> None:
    """
    The shim was built before the protocol changed.
    """
    decode_hello(Frame(FrameType.HELLO, struct.pack("<I", VERSION)))

    with pytest.raises(ProtocolError, match=f"version {VERSION + 1}"):
        decode_hello(Frame(FrameType.HELLO, struct.pack("<I", VERSION + 1)))
    with pytest.raises(ProtocolError, match="hello"):
        decode_hello(Frame(FrameType.OUT, b""))
