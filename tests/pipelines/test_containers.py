"""Worker containers, the shim inside of them, and the engine: with real Podman."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from runner.containers import (
    Bind,
    Command,
    ContainerDiedError,
    Engine,
    EngineError,
    ImageNotFoundError,
    Outcome,
    Stage,
    Stream,
    Worker,
    open_engine,
    shim_path,
)
from runner.containers.checks import run_checks
from runner.containers.limits import ulimits
from runner.containers.model import ContainerSpec
from runner.containers.runtimes import find_runtime

pytestmark = [pytest.mark.podman, pytest.mark.timeout(60)]

STATIC_PROGRAM = """
#include <stdio.h>
int main(int argc, char **argv) { for (int i = 0; i < argc; i++) puts(argv[i]); return argc; }
"""


class Output:
    """What a command wrote, the two streams apart."""

    def __init__(self) -> None:
        self.streams = {Stream.OUT: bytearray(), Stream.ERR: bytearray()}

    async def __call__(self, stream: Stream, data: bytes) -> None:
        self.streams[stream] += data

    @property
    def out(self) -> bytes:
        return bytes(self.streams[Stream.OUT])

    @property
    def err(self) -> bytes:
        return bytes(self.streams[Stream.ERR])


async def run(worker: Worker, *argv: str, **fields: object) -> tuple[Outcome, Output]:
    """Run a command and collect its output."""
    output = Output()
    outcome = await worker.run(Command(argv, **fields), output)  # type: ignore[arg-type]
    return outcome, output


async def shell(worker: Worker, script: str, **fields: object) -> tuple[Outcome, Output]:
    """Run a shell script and collect its output."""
    return await run(worker, "sh", "-c", script, **fields)


async def processes(worker: Worker) -> list[str]:
    """Name the processes of the container, but for the shim and the one that looks."""
    script = "for p in /proc/[0-9]*; do read name 2>/dev/null < $p/comm && echo ${p#/proc/} $name; done"
    _, output = await shell(worker, f"{script}; echo me $$")
    *found, (_, me) = [line.split() for line in output.out.decode().splitlines()]
    assert ["1", "shim"] in found
    return [name for pid, name in found if pid not in ("1", me)]


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something outside of this process."""
    with trio.move_on_after(20):
        while not holds():  # noqa: ASYNC110 - other processes set no event of ours
            await trio.sleep(0.02)
        return
    pytest.fail(f"waited in vain until {what}")


def import_image(name: str, root: Path, *changes: str) -> None:
    """Make an image of a folder."""
    tar = subprocess.run(["tar", "-C", root, "-c", "."], check=True, capture_output=True).stdout
    arguments = [f"--change={change}" for change in changes]
    subprocess.run(
        ["podman", "import", "--quiet", *arguments, "-", name], input=tar, check=True, capture_output=True
    )


@pytest.fixture
async def worker(engine: Engine, base_image: str, tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker without a network whose /pfs is tmp_path."""
    async with engine.worker(
        name="w0", image=base_image, pfs=tmp_path, network="none", env={"WORKER": "w0"}
    ) as worker:
        yield worker


# --- what the command gets ------------------------------------------------------------------------


async def test_arguments_arrive_exactly(worker: Worker) -> None:
    """
    Empty arguments, spaces, quotes, newlines and bytes that are no Unicode.
    """
    arguments = ["", " a  b ", "$HOME'\"", "two\nlines", "é"]

    output = Output()

    await worker.run(Command(["printf", "[%s]", *arguments, b"\xff"]), output)

    assert "".join(f"[{argument}]" for argument in arguments).encode() + b"[\xff]" == output.out


async def test_the_environment_is_the_images_under_the_workers_under_the_commands(worker: Worker) -> None:
    """
    Each later one overrides; HOME comes from the passwd file of the image when nobody gives it.
    """
    _, plain = await run(worker, "env")
    _, given = await run(worker, "env", env={"WORKER": "mine", "HOME": "/there", "EMPTY": ""})

    path = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert {path, b"WORKER=w0", b"HOME=/root"} == set(plain.out.splitlines())
    assert {path, b"WORKER=mine", b"HOME=/there", b"EMPTY="} == set(given.out.splitlines())


async def test_the_program_is_searched_on_the_given_path(worker: Worker, tmp_path: Path) -> None:
    """
    A folder of the command's own PATH holds a script without a #! line, which the shell then runs.
    """
    script = tmp_path / "hello"
    script.write_text('echo hello "$1"\n')
    script.chmod(0o755)

    outcome, output = await run(worker, "hello", "you", env={"PATH": "/nowhere:/pfs"})

    assert outcome.ok
    assert b"hello you\n" == output.out


async def test_the_working_directory_is_the_images_unless_given(worker: Worker) -> None:
    """
    The base image's WORKDIR is /.
    """
    _, by_default = await run(worker, "pwd")
    _, given = await run(worker, "pwd", cwd="/tmp")

    assert (b"/\n", b"/tmp\n") == (by_default.out, given.out)


async def test_the_users_of_the_image_are_resolved_inside(worker: Worker, tmp_path: Path) -> None:
    """
    By name, by number, with a group; and such a user can reopen its own standard output.
    """
    script = "echo $(id -u) $(id -g) $HOME > /dev/stdout"

    _, root = await shell(worker, script)
    _, name = await shell(worker, script, user="nobody")
    _, number = await shell(worker, script, user="1234:5678")
    _, group = await shell(worker, script, user="nobody:root")

    assert b"0 0 /root\n" == root.out
    assert b"65534 65534 /\n" == name.out
    assert b"1234 5678 /\n" == number.out
    assert b"65534 0 /\n" == group.out


async def test_an_images_environment_user_directory_and_command_are_the_defaults(
    engine: Engine, tmp_path: Path
) -> None:
    """
    An image that names all of them; its command is described and never run by itself.
    """
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin" / "busybox")
    name = f"localhost/pfs-test-{os.getpid()}:configured"
    import_image(
        name,
        tmp_path,
        "ENV SHOP=fruit",
        "USER 7:8",
        "WORKDIR /srv/work",
        'ENTRYPOINT ["/bin/busybox"]',
        'CMD ["false"]',
    )
    try:
        async with engine.worker(name="w0", image=name, network="none") as worker:
            _, output = await run(
                worker, "/bin/busybox", "sh", "-c", "/bin/busybox id -u; /bin/busybox id -g; pwd; echo $SHOP"
            )

            assert b"7\n8\n/srv/work\nfruit\n" == output.out
            assert ("/bin/busybox", "false") == worker.image.command
    finally:
        await trio.run_process(["podman", "rmi", name], capture_stdout=True)


async def test_nothing_of_the_shim_is_inherited(worker: Worker) -> None:
    """
    The command sees its three streams, no socket of the runner, no blocked or ignored signal.
    """
    _, descriptors = await shell(worker, "ls /proc/$$/fd; true")
    _, signals = await run(worker, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")

    assert ["0", "1", "2"] == descriptors.out.decode().split()
    assert ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16] == signals.out.decode().split()


# --- standard input and output --------------------------------------------------------------------


async def test_standard_input_larger_than_a_pipe_arrives_whole(worker: Worker) -> None:
    """
    Five megabytes, of which a pipe holds 64 KiB.
    """
    data = secrets.token_bytes(5_000_001)

    _, output = await run(worker, "sha256sum", stdin=data)

    assert hashlib.sha256(data).hexdigest() == output.out.decode().split()[0]


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 5_000_000])
async def test_a_command_may_leave_its_input_unread(worker: Worker, size: int) -> None:
    """
    The command ends, or closes its input, with any amount left to read.
    """
    ended = await worker.run(Command(["true"], stdin=b"x" * size))
    closed, output = await shell(worker, "exec 0<&-; echo done", stdin=b"x" * size)

    assert ended.ok
    assert closed.ok
    assert b"done\n" == output.out


async def test_the_two_output_streams_stay_apart(worker: Worker) -> None:
    """
    A command writes to both in turn.
    """
    _, output = await shell(worker, "for i in 1 2 3; do echo out$i; echo err$i >&2; done")

    assert b"out1\nout2\nout3\n" == output.out
    assert b"err1\nerr2\nerr3\n" == output.err


async def test_a_hundred_megabytes_of_output_do_not_stay_in_memory(worker: Worker) -> None:
    """
    The command writes faster than the runner reads; the pipe fills, not the shim.
    """
    size = 100_000_000
    seen = 0

    async def count(stream: Stream, data: bytes) -> None:
        nonlocal seen
        seen += len(data)
        await trio.lowlevel.checkpoint()

    outcome = await worker.run(Command(["head", "-c", str(size), "/dev/zero"]), count)
    _, output = await shell(worker, "grep VmHWM /proc/1/status")

    assert outcome.ok
    assert size == seen
    assert int(output.out.split()[1]) < 4096  # KiB


async def test_a_runner_that_does_not_read_stops_the_command_and_not_the_shim(worker: Worker) -> None:
    """
    Nothing of an endless output is taken for a while; a timeout is kept all the same.
    """
    release = trio.Event()
    blocked = trio.Event()

    async def hold(stream: Stream, data: bytes) -> None:
        blocked.set()
        await release.wait()

    async def run_it() -> None:
        outcomes.append(await worker.run(Command(["yes"], timeout_s=0.3), hold))

    outcomes: list[Outcome] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_it)
        await blocked.wait()
        await until(lambda: _children(worker) == [], "the command is gone")
        release.set()

    assert [(True, signal.SIGTERM)] == [(outcome.timed_out, outcome.signal) for outcome in outcomes]


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_codes_are_reported(worker: Worker, code: int) -> None:
    """
    A command exits by itself.
    """
    outcome, _ = await shell(worker, f"exit {code}")

    assert (code, None, None) == (outcome.exit_code, outcome.signal, outcome.exec_error)
    assert (code == 0) == outcome.ok


async def test_the_signal_that_ended_a_command_is_reported(worker: Worker) -> None:
    """
    A command crashes.
    """
    outcome, _ = await shell(worker, "kill -SEGV $$")

    assert (None, signal.SIGSEGV) == (outcome.exit_code, outcome.signal)
    assert "killed by SIGSEGV" == str(outcome)


async def test_times_and_memory_are_those_of_all_processes_of_the_run(worker: Worker) -> None:
    """
    A child of the command does the work, in 20 MB of memory.
    """
    outcome, _ = await shell(
        worker, "(dd if=/dev/zero bs=20M count=20 | md5sum >/dev/null) 2>/dev/null; true"
    )

    assert outcome.finished_ns > outcome.started_ns
    assert outcome.user_s + outcome.system_s > 0.05
    assert 20_000_000 < outcome.max_rss_bytes < 100_000_000


@pytest.mark.parametrize(
    "argv, fields, stage, path, error, code",
    [
        (["nosuch"], {}, Stage.EXEC, "nosuch", errno.ENOENT, 127),
        (["/nosuch"], {}, Stage.EXEC, "/nosuch", errno.ENOENT, 127),
        (["/etc/passwd"], {}, Stage.EXEC, "/etc/passwd", errno.EACCES, 126),
        (["passwd"], {"env": {"PATH": "/nosuch:/etc:/bin"}}, Stage.EXEC, "/etc/passwd", errno.EACCES, 126),
        (["/pfs/script"], {}, Stage.INTERPRETER, "/pfs/script", errno.ENOENT, 126),
        (["true"], {"cwd": "/nosuch"}, Stage.CHDIR, "/nosuch", errno.ENOENT, 126),
        (["true"], {"user": "ghost"}, Stage.USER, "ghost", errno.ENOENT, 126),
        (["true"], {"user": "root:ghosts"}, Stage.USER, "root:ghosts", errno.ENOENT, 126),
    ],
)
async def test_a_command_that_cannot_start_says_what_failed(
    worker: Worker,
    tmp_path: Path,
    argv: list[str],
    fields: dict[str, object],
    stage: Stage,
    path: str,
    error: int,
    code: int,
) -> None:
    """
    No such program, not executable, no interpreter, no directory, no user.
    """
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    outcome, _ = await run(worker, *argv, **fields)

    assert code == outcome.exit_code
    assert outcome.exec_error is not None
    assert (stage, path, error) == (
        outcome.exec_error.stage,
        outcome.exec_error.path,
        outcome.exec_error.errno,
    )


async def test_a_command_that_outlives_its_timeout_is_terminated(worker: Worker) -> None:
    """
    The command and its children sleep; SIGTERM goes to all of them.
    """
    outcome, _ = await shell(worker, "sleep 1000 & sleep 1000", timeout_s=0.1)

    assert outcome.timed_out
    assert signal.SIGTERM == outcome.signal
    assert [] == await processes(worker)


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(worker: Worker) -> None:
    """
    The command traps SIGTERM and goes on.
    """
    outcome, output = await shell(
        worker, "trap 'echo trapped' TERM; while :; do sleep 0.01; done", timeout_s=0.1, grace_s=0.1
    )

    assert (True, signal.SIGKILL) == (outcome.timed_out, outcome.signal)
    assert b"trapped\n" == output.out


async def test_a_stopped_command_is_ended_by_its_timeout(worker: Worker) -> None:
    """
    The command stops itself and would never act on SIGTERM.
    """
    outcome, _ = await shell(worker, "kill -STOP $$", timeout_s=0.1)

    assert (True, signal.SIGTERM) == (outcome.timed_out, outcome.signal)


async def test_what_a_command_leaves_behind_is_dead_before_its_end_is_reported(
    worker: Worker, tmp_path: Path
) -> None:
    """
    A process in a session of its own, which a group kill would miss, goes on writing to /pfs.
    """
    script = "setsid sh -c 'trap \"\" TERM HUP; while :; do echo beat >> /pfs/beats; done' & "
    outcome, _ = await shell(worker, script + "while [ ! -s /pfs/beats ]; do sleep 0.01; done; exit 5")

    size = (tmp_path / "beats").stat().st_size
    assert 5 == outcome.exit_code
    assert [] == await processes(worker)
    assert size == (tmp_path / "beats").stat().st_size


async def test_output_of_what_is_killed_at_the_end_is_delivered_first(worker: Worker) -> None:
    """
    A background process has written into the pipe when the command ends.
    """
    outcome, output = await shell(
        worker, "(echo early; sleep 1000) & while [ ! -e /tmp/x ]; do touch /tmp/x; done"
    )

    assert outcome.ok
    assert output.out in (b"early\n", b"")
    assert [] == await processes(worker)


# --- leaving early --------------------------------------------------------------------------------


async def test_a_cancelled_run_is_ended_and_the_worker_goes_on(worker: Worker) -> None:
    """
    The run is cancelled while the command has a lot of input that it never reads.
    """
    started = trio.Event()

    async def note(stream: Stream, data: bytes) -> None:
        started.set()

    async with trio.open_nursery() as nursery:
        command = Command(["sh", "-c", "echo started; sleep 1000"], stdin=b"x" * 5_000_000)
        nursery.start_soon(worker.run, command, note)
        await started.wait()
        nursery.cancel_scope.cancel()

    assert [] == await processes(worker)
    assert (await worker.run(Command(["true"]))).ok


async def test_a_run_whose_output_nobody_can_take_is_ended(worker: Worker) -> None:
    """
    The log is full: on_output raises in the middle of endless output.
    """

    async def refuse(stream: Stream, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space left"):
        await worker.run(Command(["yes"]), refuse)

    assert [] == await processes(worker)


async def test_a_worker_runs_one_command_at_a_time(worker: Worker) -> None:
    """
    Two tasks share a worker by mistake.
    """

    async def run_another(stream: Stream, data: bytes) -> None:
        with pytest.raises(RuntimeError, match="runs a command already"):
            await worker.run(Command(["true"]))

    assert (await worker.run(Command(["echo"]), run_another)).ok


async def test_a_container_killed_in_the_middle_is_reported_with_its_status(
    engine: Engine, worker: Worker
) -> None:
    """
    Somebody runs `podman kill` while a command runs.
    """

    async def kill(stream: Stream, data: bytes) -> None:
        kill = ["podman", "kill", worker.container_id]
        await trio.run_process(kill, capture_stdout=True, capture_stderr=True)

    with pytest.raises(ContainerDiedError) as caught:
        await worker.run(Command(["sh", "-c", "echo; sleep 1000"]), kill)
    with pytest.raises(ContainerDiedError):
        await worker.run(Command(["true"]))

    assert 137 == caught.value.exit_status
    assert "w0" == caught.value.worker
    assert not worker.alive


@pytest.mark.slow(reason="6 s: the time that a cancelled run has to end")
async def test_a_container_that_does_not_end_a_cancelled_run_is_killed(worker: Worker) -> None:
    """
    Somebody froze the container with `podman pause`; then the run is cancelled.
    """

    async def freeze(stream: Stream, data: bytes) -> None:
        await trio.run_process(["podman", "pause", worker.container_id], capture_stdout=True)
        scope.cancel()

    with trio.CancelScope() as scope:
        await worker.run(Command(["sh", "-c", "echo; sleep 1000"]), freeze)

    assert scope.cancelled_caught
    assert not worker.alive
    with pytest.raises(ContainerDiedError):
        await worker.run(Command(["true"]))


async def test_a_command_that_kills_everything_it_can_does_not_end_the_worker(worker: Worker) -> None:
    """
    `kill -9 1` and `kill -9 -1` by root inside of the container.
    """
    await shell(worker, "kill -9 1; kill -9 -1")

    assert (await worker.run(Command(["true"]))).ok


async def test_a_killed_runner_leaves_no_container_and_no_service(base_image: str, tmp_path: Path) -> None:
    """
    The process that holds engine and worker dies by kill -9 while a command runs.
    """
    store = secrets.token_hex(16)
    script = (
        "import sys, trio\n"
        "from pathlib import Path\n"
        "from runner.containers import Command, open_engine\n"
        "async def report(stream, data):\n"
        "    print('running\\n', end='', flush=True)\n"
        "async def main():\n"
        "    async with open_engine(Path(sys.argv[1]), sys.argv[2]) as engine:\n"
        "        async with engine.worker(name='w0', image=sys.argv[3], network='none') as worker:\n"
        "            await worker.run(Command(['sh', '-c', 'echo; sleep 1000']), report)\n"
        "trio.run(main)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), store, base_image]
    listing = ["podman", "ps", "--all", "--quiet", f"--filter=label=io.pfs.store={store}"]
    runner = await trio.lowlevel.open_process(arguments, stdout=subprocess.PIPE)
    assert runner.stdout is not None
    assert b"running\n" == await runner.stdout.receive_some()
    assert b"" != (await trio.run_process(listing, capture_stdout=True)).stdout

    runner.kill()
    await runner.wait()

    await until(lambda: subprocess.check_output(listing) == b"", "the container is gone")
    await until(lambda: _processes_with(str(tmp_path)) == [], "the service is gone")


# --- containers -----------------------------------------------------------------------------------


async def test_an_image_of_one_static_program_and_nothing_else_works(engine: Engine, tmp_path: Path) -> None:
    """
    FROM scratch: no shell, no libc, no /etc, no /tmp.
    """
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "program.c").write_text(STATIC_PROGRAM)
    await trio.run_process(["gcc", "-static", "-o", str(root / "program"), str(tmp_path / "program.c")])
    name = f"localhost/pfs-test-{os.getpid()}:scratch"
    await trio.to_thread.run_sync(import_image, name, root)
    try:
        async with engine.worker(name="w0", image=name, network="none") as worker:
            outcome, output = await run(worker, "/program", "a", "b")
            missing, _ = await run(worker, "sh")
            named, _ = await run(worker, "/program", user="nobody")

            assert (3, b"/program\na\nb\n") == (outcome.exit_code, output.out)
            assert 127 == missing.exit_code
            assert Stage.USER == (named.exec_error and named.exec_error.stage)
    finally:
        await trio.run_process(["podman", "rmi", name], capture_stdout=True)


async def test_pfs_is_the_folder_of_the_host_and_other_binds_are_read_only(
    engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """
    A command reads and writes /pfs, and cannot write to a bind that is read-only.
    """
    pfs, extra = tmp_path / "pfs", tmp_path / "extra"
    pfs.mkdir()
    extra.mkdir()
    (pfs / "in").write_text("data")
    async with engine.worker(
        name="w0",
        image=base_image,
        pfs=pfs,
        pfs_propagation="rslave",
        network="none",
        binds=[Bind(extra, "/extra")],
    ) as worker:
        outcome, _ = await shell(worker, "cp /pfs/in /pfs/out")
        refused, _ = await shell(worker, "touch /extra/x 2>/dev/null")

    assert outcome.ok
    assert "data" == (pfs / "out").read_text()
    assert 1 == refused.exit_code


async def test_limits_of_cpu_memory_files_and_processes_hold(engine: Engine, base_image: str) -> None:
    """
    A worker with half a processor and 32 MiB; a command that needs more memory is killed, the worker lives.
    """
    async with engine.worker(
        name="w0", image=base_image, network="none", cpus=0.5, memory=32 << 20
    ) as worker:
        greedy, _ = await run(worker, "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
        parent, _ = await shell(worker, "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 3")
        _, limits = await run(worker, "grep", "-E", "Max (open files|processes)", "/proc/self/limits")
        after = await worker.run(Command(["true"]))

    soft = {line[:25].strip(): int(line[25:].split()[0]) for line in limits.out.decode().splitlines()}
    assert (signal.SIGKILL, True) == (greedy.signal, greedy.out_of_memory)
    assert (3, True) == (parent.exit_code, parent.out_of_memory)
    assert (True, False) == (after.ok, after.out_of_memory)
    assert {limit.value for limit in ulimits()} == set(soft.values())


async def test_a_worker_without_network_has_only_the_loopback(worker: Worker) -> None:
    """
    network: none.
    """
    _, output = await run(worker, "ls", "/sys/class/net")

    assert b"lo\n" == output.out


async def test_a_worker_with_the_bridge_network_reaches_a_server_on_the_host(
    engine: Engine, base_image: str
) -> None:
    """
    An HTTP server of the host, bound to its address in the bridge network only.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from the host")

        def log_message(self, *arguments: object) -> None:
            """Keep the output of the tests clean."""

    async with engine.worker(name="w0", image=base_image) as worker:
        gateway = await engine.bridge_gateway()
        with http.server.HTTPServer((gateway, 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                url = f"http://host.containers.internal:{server.server_port}/"
                # Without -T: Debian's static busybox crashes on that option.
                outcome, output = await run(worker, "wget", "-q", "-O", "-", url, timeout_s=30)
            finally:
                await trio.to_thread.run_sync(server.shutdown)
                thread.join()

    assert (0, b"", b"hello from the host") == (outcome.exit_code, output.err, output.out)


async def test_workers_start_and_run_side_by_side(engine: Engine, base_image: str) -> None:
    """
    Four workers at once, as a job with parallelism 4 has.
    """
    seen = []

    async def work(number: int) -> None:
        async with engine.worker(name=f"w{number}", image=base_image, network="none") as worker:
            _, output = await run(worker, "echo", str(number))
            seen.append(int(output.out))

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(work, number)

    assert [0, 1, 2, 3] == sorted(seen)


# --- the engine -----------------------------------------------------------------------------------


async def test_an_image_that_is_not_here_is_named_with_what_to_do(engine: Engine) -> None:
    """
    A pipeline names an image that nobody built, and that no registry is asked for.
    """
    name = "localhost/pfs-no-such-image:v1"

    with pytest.raises(ImageNotFoundError, match=f"{name}.*podman build.*podman pull {name}"):
        async with engine.worker(name="w0", image=name):
            pytest.fail("it started")


async def test_an_image_that_cannot_be_pulled_is_named_with_the_reason(engine: Engine) -> None:
    """
    Podman answers 200 to such a pull, and says why it failed in the body.
    """
    name = "127.0.0.1:9/pfs/no-such-image:v1"

    with pytest.raises(ImageNotFoundError, match="connection refused"):
        await engine.ensure_image(name)


async def test_leftovers_of_a_store_are_removed_and_those_of_others_are_not(
    engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """
    Containers without a runner, one that runs and one that never started; another store looks for its own.
    """
    running = await engine.create(ContainerSpec("old", base_image, ["sleep", "1000"], network="none"))
    await engine.start(running)
    await engine.create(ContainerSpec("older", base_image, ["sleep", "1000"], network="none"))

    async with open_engine(tmp_path, secrets.token_hex(16)) as other:
        assert [] == await other.remove_leftovers()
    assert await engine.is_running(running)

    assert ["old", "older"] == await engine.remove_leftovers()
    assert not await engine.is_running(running)


async def test_a_second_runner_of_the_same_run_directory_is_refused(engine: Engine, run_dir: Path) -> None:
    """
    The runner of a store is started twice.
    """
    with pytest.raises(EngineError, match="another runner"):
        async with open_engine(run_dir, engine.store_id):
            pytest.fail("it started")


async def test_a_store_at_a_long_path_works(base_image: str, tmp_path: Path) -> None:
    """
    The run directory is longer than any socket path may be.
    """
    run_dir = tmp_path / ("long" * 30) / "run"

    async with open_engine(run_dir, secrets.token_hex(16)) as engine:
        sockets = engine.sockets
        async with engine.worker(name="w0", image=base_image, network="none") as worker:
            outcome = await worker.run(Command(["true"]))

    assert outcome.ok
    assert not sockets.exists()


async def test_a_service_that_was_killed_is_started_again(engine: Engine, worker: Worker) -> None:
    """
    Podman's service dies; the container does not need it, and the next call brings it back.
    """
    (pid,) = _processes_with(str(engine.sockets / "podman.sock"))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: _processes_with(str(engine.sockets / "podman.sock")) != [pid], "the service is gone")

    assert (await worker.run(Command(["true"]))).ok
    assert await engine.is_running(worker.container_id)


async def test_the_runtime_is_remembered_until_something_changes(engine: Engine, run_dir: Path) -> None:
    """
    The memory is believed while its key fits, and only then.
    """
    memory = run_dir / "oci-runtime.json"
    found = json.loads(memory.read_text())
    assert engine.runtime == found["runtime"]

    try:
        memory.write_text(json.dumps({**found, "runtime": "remembered"}))
        assert "remembered" == await trio.to_thread.run_sync(find_runtime, run_dir, shim_path())
        memory.write_text(json.dumps({"key": {**found["key"], "kernel": "0.1"}, "runtime": "remembered"}))
        assert engine.runtime == await trio.to_thread.run_sync(find_runtime, run_dir, shim_path())
    finally:
        memory.write_text(json.dumps(found))


async def test_the_doctor_finds_this_machine_able_to_run_containers(engine: Engine) -> None:
    """
    Every check that really tries something succeeds where these tests run.
    """
    checks = {check.name: check for check in await trio.to_thread.run_sync(run_checks)}

    assert {"podman", "shim", "OCI runtime", "container network", "limits", "cgroups", "/dev/fuse"} == set(
        checks
    )
    assert [] == [check for check in checks.values() if check.ok is False]
    assert engine.runtime in checks["OCI runtime"].detail


def _children(worker: Worker) -> list[str]:
    """List the children of PID 1 of a worker, as the host sees them."""
    inspect = ["podman", "inspect", "--format", "{{.State.Pid}}", worker.container_id]
    pid = subprocess.check_output(inspect, text=True).strip()
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _processes_with(argument: str) -> list[int]:
    """Find the processes of the host whose command line holds *argument*."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if argument in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found
