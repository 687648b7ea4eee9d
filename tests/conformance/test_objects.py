"""What every implementation of `Objects` does."""

from __future__ import annotations

import pytest

from pfsfuse.errors import StoreError
from pfsfuse.ids import chunk_id
from pfsfuse.store.objects import ObjectKind, Objects
from tests.support.builders import World
from tests.support.objects import MemoryObjects


@pytest.fixture(params=["memory", "store"])
def objects(request: pytest.FixtureRequest) -> Objects:
    """An empty set of objects."""
    if request.param == "memory":
        return MemoryObjects()
    world: World = request.getfixturevalue("world")
    return world.store.chunks


@pytest.mark.parametrize("data", [b"", b"x", bytes(100_000)])
def test_what_was_put_can_be_got_by_its_hash(objects: Objects, data: bytes) -> None:
    """An object of any length is stored, also an empty one."""
    object_id = objects.put(data, ObjectKind.CHUNK)

    assert chunk_id(data) == object_id
    assert data == objects.get(object_id)


def test_putting_twice_gives_the_same_name(objects: Objects) -> None:
    """Two writers store equal bytes, as objects of two kinds."""
    first = objects.put(b"equal", ObjectKind.CHUNK)
    second = objects.put(b"equal", ObjectKind.CHUNK_LIST)

    assert first == second
    assert b"equal" == objects.get(second)


def test_the_buffer_may_be_reused_after_a_put(objects: Objects) -> None:
    """A writer passes a view of its buffer and then writes other bytes into the buffer."""
    buffer = bytearray(b"first")
    with memoryview(buffer) as view:
        first = objects.put(view, ObjectKind.CHUNK)
    buffer[:] = b"second, longer"

    assert b"first" == objects.get(first)


def test_an_object_that_nobody_put_is_a_store_error(objects: Objects) -> None:
    """Something names an object that is not there."""
    with pytest.raises(StoreError):
        objects.get(chunk_id(b"never put"))
