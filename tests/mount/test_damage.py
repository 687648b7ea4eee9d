"""A damaged chunk as programs meet it: EIO for its bytes, and for nothing else."""

from __future__ import annotations

import errno
import os

import pytest

from pfsfuse.store.packs import pack_path
from pfsfuse.trees.chunk_list import Contents
from pfsfuse.trees.reader import Reader
from tests.support.builders import flip
from tests.support.mounting import mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]

PAGE = 4096


def test_a_read_of_damaged_bytes_fails_and_all_others_succeed() -> None:
    """One chunk in the middle of a file of 2 MB has a flipped bit on the disk."""
    data = os.urandom(2_000_000)
    with mounted(autocommit_s=-1) as mount:
        mount.declared.append("the bytes do not have this name; run `pfs fsck`")
        world = mount.world
        world.is_damaged = True
        made = world.commit({"hurt": data, "whole": b"w" * 5000, "small": b"s"})
        assert made.root is not None
        entry = world.trees.resolve(made.root, (b"hurt",))
        assert entry is not None
        key, start, length = Reader(world.store.chunks, Contents.of(entry)).layout.find(1_000_000)
        location = world.store.chunks.locate(key)
        flip(pack_path(world.store.packs, location.pack), location.offset + 7)
        mount.restart()
        folder = mount.point / "images" / "master"

        with mount.watched(), open(folder / "hurt", "rb", buffering=0) as file:
            fd = file.fileno()
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                os.pread(fd, 10, start + length // 2)
            before, after = start - start % PAGE, start + length + PAGE - (start + length) % PAGE
            head = b"".join(os.pread(fd, PAGE, at) for at in range(0, before, PAGE))
            tail = b"".join(os.pread(fd, PAGE, at) for at in range(after, len(data), PAGE))
            whole = (folder / "whole").read_bytes()

        assert data[:before] == head
        assert data[after:] == tail
        assert b"w" * 5000 == whole
        assert b"s" == (folder / "small").read_bytes()
        assert {"hurt", "whole", "small"} == set(os.listdir(folder))
