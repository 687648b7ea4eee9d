"""What Podman refuses, in our words; and folders for sockets."""

from __future__ import annotations

import os
from pathlib import Path

from runner.containers.errors import (
    ContainerDiedError,
    ImageNotFoundError,
    explain,
    failed_command,
)
from runner.containers.sockets import remove_stand_in, socket_directory

_LONGEST = "w-0123456789abcdef/s"


def test_a_failed_command_names_the_command_its_status_and_what_to_do() -> None:
    """
    crun on a machine with a hybrid cgroup hierarchy.
    """
    error = failed_command("podman run", 126, b"Error: crun: cgroups in hybrid mode not supported\n")

    assert ("podman run", 126) == (error.command, error.status)
    assert "cgroups in hybrid mode not supported" in str(error)
    assert str(error).endswith("apt install runc")


def test_an_unknown_failure_is_told_without_advice() -> None:
    """
    Podman says something that nobody has seen before.
    """
    assert "podman run: the moon is full (status 1)" == str(
        failed_command("podman run", 1, b"the moon is full\n")
    )


def test_a_service_that_does_not_answer_is_told_apart_from_a_refusal() -> None:
    """
    The socket refuses the connection: there is no status.
    """
    error = explain("list containers", ConnectionRefusedError(111, "Connection refused"))

    assert error.status is None
    assert "does not answer" in str(error)


def test_a_missing_image_says_how_to_get_it() -> None:
    """
    A pipeline names an image that was never built.
    """
    error = ImageNotFoundError("shop/edges:v1")

    assert "shop/edges:v1" == error.image
    assert "podman build -t shop/edges:v1" in str(error)
    assert "podman pull shop/edges:v1" in str(error)


def test_a_container_that_died_says_with_which_status_if_known() -> None:
    """
    One container was killed, of the other nothing is known.
    """
    assert "exit status 137" in str(ContainerDiedError("w0", 137))
    assert "exit status unknown" in str(ContainerDiedError("w0", None))


def test_a_short_run_directory_holds_its_own_sockets(tmp_path: Path) -> None:
    """
    The store lies at a path that leaves room for socket names.
    """
    run_dir = Path("/tmp") / f"pfs-{os.getpid()}"

    sockets = socket_directory(run_dir)
    remove_stand_in(run_dir, sockets)

    assert run_dir == sockets
    assert sockets.is_dir()
    sockets.rmdir()


def test_a_long_run_directory_gets_the_same_short_stand_in_every_time(tmp_path: Path) -> None:
    """
    The store lies so deep that no socket below it could be bound.
    """
    run_dir = tmp_path / ("d" * 100) / "run"

    sockets = socket_directory(run_dir)

    assert len(os.fsencode(sockets / _LONGEST)) <= 107
    assert 0o700 == sockets.stat().st_mode & 0o777
    assert sockets == socket_directory(run_dir)
    remove_stand_in(run_dir, sockets)
    assert not sockets.exists()
