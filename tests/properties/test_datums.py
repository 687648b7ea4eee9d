"""Rules of dealing out inputs that hold whatever is in them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pfsfuse.trees.contents import ContentsWriter
from pfsfuse.trees.tree import Trees
from runner.datums.blocks import blocks
from runner.datums.era1 import InputData, plan, visible
from runner.spec.model import Incremental, Partition
from tests.support.files import directory, files_of
from tests.support.objects import MemoryObjects

NAMES = st.sampled_from(["a", "b", "c.json", "a.b", "a b", "z"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TEXTS = st.lists(st.binary(max_size=20), max_size=30).map(b"\n".join)


def without_conflicts(files: dict[str, bytes]) -> dict[str, bytes]:
    """Drop the files that stand where others need a directory."""
    return {
        path: text for path, text in files.items() if not any(other.startswith(path + "/") for other in files)
    }


FILES = st.dictionaries(PATHS, TEXTS, max_size=8).map(without_conflicts)


def joined(shares: list[dict[str, bytes]]) -> dict[str, bytes]:
    """Put the parts of each file together in the order of the shares."""
    whole: dict[str, bytes] = {}
    for files in shares:
        for path, text in files.items():
            whole[path] = whole.get(path, b"") + text
    return whole


@given(FILES, st.integers(1, 9), st.sampled_from([Partition.BLOCK, Partition.FILE]), st.integers(1, 40))
def test_every_byte_is_in_exactly_one_share_and_in_its_place(
    files: dict[str, bytes], parallelism: int, partition: Partition, block_bytes: int
) -> None:
    """
    The shares, put together in their order, are the input; none is without bytes, if any has.
    """
    trees = Trees(MemoryObjects())
    each = InputData("in", directory(trees, files), None, partition, Incremental.NONE)

    planned = plan(trees, [each], parallelism, block_bytes=block_bytes)

    shares = [files_of(trees, container.inputs["in"]) for container in planned.containers]
    assert files == joined(shares)
    assert len(shares) <= max(parallelism, 1)
    assert len(shares) & (len(shares) - 1) == 0
    if len(shares) > 1:
        assert all(any(share.values()) for share in shares)


@given(FILES, st.integers(1, 9), st.integers(1, 40))
def test_what_stands_at_the_top_is_in_one_share_only_with_the_partition_file(
    files: dict[str, bytes], parallelism: int, block_bytes: int
) -> None:
    """
    A directory's files stay together.
    """
    trees = Trees(MemoryObjects())
    each = InputData("in", directory(trees, files), None, Partition.FILE, Incremental.NONE)

    planned = plan(trees, [each], parallelism, block_bytes=block_bytes)

    tops = [
        {path.split("/")[0] for path in files_of(trees, container.inputs["in"])}
        for container in planned.containers
    ]
    assert len({path.split("/")[0] for path in files}) == sum(map(len, tops))


@given(TEXTS, st.integers(1, 40))
def test_no_line_is_in_two_blocks(text: bytes, least: int) -> None:
    """
    Blocks cover the file; all but the last end with a newline and are long enough.
    """
    objects = MemoryObjects()
    writer = ContentsWriter(objects)
    writer.write(text)

    found = [text[start:end] for start, end in blocks(objects, writer.finish(), b"lines", least=least)]

    assert text == b"".join(found)
    assert all(block.endswith(b"\n") and len(block) >= least for block in found[:-1])


JSON = st.recursive(
    st.text() | st.integers() | st.none(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.text(), JSON)), st.sampled_from(["", "\n", " \r\n "]), st.integers(1, 60))
def test_no_json_object_is_in_two_blocks(objects: list[object], between: str, least: int) -> None:
    """
    Each block is a run of whole objects, and together they are those of the file.
    """
    text = between.join(json.dumps(each, ensure_ascii=False) for each in objects).encode()
    store = MemoryObjects()
    writer = ContentsWriter(store)
    writer.write(text)

    found = blocks(store, writer.finish(), b"x.json", least=least)

    read: list[object] = []
    for start, end in found:
        block = text[start:end].decode().strip()
        while block:
            value, stop = json.JSONDecoder().raw_decode(block)
            read.append(value)
            block = block[stop:].lstrip()
    assert objects == read
    assert all(end - start >= least for start, end in found[:-1])


@given(FILES, FILES, st.binary(min_size=1, max_size=9))
def test_the_new_files_and_appended_bytes_are_what_an_increment_shows(
    old: dict[str, bytes], changed: dict[str, bytes], suffix: bytes
) -> None:
    """
    Compared with the rule written down for dictionaries.
    """
    trees = Trees(MemoryObjects())
    new = without_conflicts({path: text + suffix for path, text in old.items()} | changed)
    each = InputData("in", directory(trees, new), directory(trees, old), Partition.BLOCK, Incremental.DIFF)

    expected = {}
    for path, text in new.items():
        before = old.get(path)
        if before is None or not text.startswith(before):
            expected[path] = text
        elif text != before:
            expected[path] = text[len(before) :]
    assert expected == files_of(trees, visible(trees, each))
