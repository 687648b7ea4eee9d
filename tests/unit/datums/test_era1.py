"""Which container of a 1.0-era job sees what."""

from __future__ import annotations

from collections import Counter

import pytest

from pfsfuse.trees.entry import Entry, Kind, symlink
from pfsfuse.trees.tree import Trees
from runner.datums.era1 import InputData, Plan, plan, visible
from runner.spec.model import Incremental, Partition
from tests.support.files import directory, file, files_of
from tests.support.objects import MemoryObjects

BLOCK, FILE, REPO = Partition.BLOCK, Partition.FILE, Partition.REPO
NONE, DIFF, FULL = Incremental.NONE, Incremental.DIFF, Incremental.FULL


@pytest.fixture
def trees() -> Trees:
    return Trees(MemoryObjects())


def data(
    root: Entry,
    parent: Entry | None = None,
    *,
    repo: str = "in",
    partition: Partition = BLOCK,
    incremental: Incremental = NONE,
) -> InputData:
    return InputData(repo, root, parent, partition, incremental)


def seen(trees: Trees, planned: Plan, repo: str = "in") -> list[dict[str, bytes]]:
    """Return what each container finds in /pfs/<repo>."""
    return [files_of(trees, container.inputs[repo]) for container in planned.containers]


def lines(count: int, *, mark: bytes = b"line") -> bytes:
    return b"".join(b"%s %d\n" % (mark, number) for number in range(count))


# --- what the job sees ----------------------------------------------------------------------------


def view(
    trees: Trees,
    old: dict[str, bytes | Entry] | None,
    new: dict[str, bytes | Entry],
    incremental: Incremental = DIFF,
    partition: Partition = BLOCK,
) -> dict[str, bytes]:
    parent = None if old is None else directory(trees, old)
    each = data(directory(trees, new), parent, partition=partition, incremental=incremental)
    return files_of(trees, visible(trees, each))


def test_without_a_parent_job_everything_is_seen(trees: Trees) -> None:
    """
    The first job of an incremental pipeline.
    """
    assert {"a": b"1", "b/c": b"2"} == view(trees, None, {"a": b"1", "b/c": b"2"})


def test_an_input_that_is_not_incremental_is_seen_whole(trees: Trees) -> None:
    """
    A parent job is there, but the method is reduce.
    """
    assert {"a": b"1", "b": b"2"} == view(trees, {"a": b"1"}, {"a": b"1", "b": b"2"}, NONE)


def test_only_appended_bytes_are_seen_of_a_file_that_grew(trees: Trees) -> None:
    """
    `cat set2.txt >> sales`, beside a file that remains and a new one.
    """
    old: dict[str, bytes | Entry] = {"sales": lines(1000), "other": b"x", "sub/deep": b"y"}
    new: dict[str, bytes | Entry] = {**old, "sales": lines(1000) + b"more\n", "sub/new": b"z"}

    assert {"sales": b"more\n", "sub/new": b"z"} == view(trees, old, new)


@pytest.mark.parametrize(
    ("old", "new"), [(b"abc", b"abX"), (b"abc", b"ab"), (b"abc", b"Xabc"), (b"abc", b""), (b"", b"abc")]
)
def test_a_file_that_changed_otherwise_is_seen_whole(trees: Trees, old: bytes, new: bytes) -> None:
    """
    Overwritten, cut, grown at the front, emptied, or filled.
    """
    assert {"f": new} == view(trees, {"f": old}, {"f": new})


def test_what_was_removed_is_not_seen(trees: Trees) -> None:
    """
    One file is gone, a directory too; nothing was added.
    """
    assert {} == view(trees, {"a": b"1", "d/b": b"2", "c": b"3"}, {"c": b"3"})


def test_times_and_modes_are_no_news(trees: Trees) -> None:
    """
    `touch` and `chmod`, also `chmod +x`, bring no bytes.
    """
    old: dict[str, bytes | Entry] = {"f": file(trees, b"1", mtime_ns=1), "x": file(trees, b"2")}
    new: dict[str, bytes | Entry] = {
        "f": file(trees, b"1", mtime_ns=2, mode=0o600),
        "x": file(trees, b"2", mode=0o755),
    }
    opened = trees.empty_directory(mode=0o777, mtime_ns=3)

    assert {} == view(trees, old, new)
    assert {} == view(trees, {"d/f": b"1"}, {"d": trees.update(opened, {b"f": file(trees, b"1")})})


def test_a_file_that_became_a_directory_is_seen_with_all_below_it(trees: Trees) -> None:
    """
    And the other way round.
    """
    assert {"a/b": b"2"} == view(trees, {"a": b"1"}, {"a/b": b"2"})
    assert {"a": b"2"} == view(trees, {"a/b": b"1"}, {"a": b"2"})


def test_full_shows_changed_files_whole(trees: Trees) -> None:
    """
    The incremental value FULL (or FILE) of 1.2.
    """
    old: dict[str, bytes | Entry] = {"a": b"1\n", "b": b"2\n"}

    assert {"a": b"1\n3\n"} == view(trees, old, {"a": b"1\n3\n", "b": b"2\n"}, FULL)


def test_full_shows_the_whole_top_level_object_where_that_is_the_unit(trees: Trees) -> None:
    """
    One file below `d` changed, one below `e` was removed; `f` remains.
    """
    old: dict[str, bytes | Entry] = {"d/1": b"1", "d/2": b"2", "e/1": b"1", "e/2": b"2", "f": b"3"}
    new: dict[str, bytes | Entry] = {"d/1": b"X", "d/2": b"2", "e/1": b"1", "f": b"3"}

    assert {"d/1": b"X", "d/2": b"2", "e/1": b"1"} == view(trees, old, new, FULL, FILE)


def test_modes_and_times_of_directories_are_kept_in_a_partial_view(trees: Trees) -> None:
    """
    A private directory does not become public because only one file in it is new.
    """
    private = trees.empty_directory(mode=0o700, uid=7, gid=8, mtime_ns=9)
    root = trees.apply(trees.empty_directory(mode=0o711), {(b"d",): private, (b"d", b"a"): file(trees, b"1")})
    newer = trees.apply(root, {(b"d", b"b"): file(trees, b"2")})

    shown = visible(trees, data(newer, root, incremental=DIFF))

    found = trees.lookup(shown, b"d")
    assert found is not None
    assert (0o700, 7, 8, 9) == (found.mode, found.uid, found.gid, found.mtime_ns)
    assert 0o711 == shown.mode
    assert {"d/b": b"2"} == files_of(trees, shown)


# --- shares ---------------------------------------------------------------------------------------


def test_forty_megabytes_at_parallelism_four_give_every_line_to_exactly_one_container(
    trees: Trees,
) -> None:
    """
    One file of 40 MB with lines of different lengths; blocks of 8 MB.
    """
    text = b"".join(b"%d %s\n" % (number, b"x" * (number % 97)) for number in range(740_000))
    assert len(text) > 40_000_000

    found = seen(trees, plan(trees, [data(directory(trees, {"big": text}))], 4))

    assert [["big"]] * 4 == [list(files) for files in found]
    assert text == b"".join(files["big"] for files in found)
    assert all(files["big"].endswith(b"\n") for files in found)
    assert all(len(files["big"]) < 18_000_000 for files in found)


def test_a_share_of_a_file_stores_only_what_is_around_its_ends() -> None:
    """
    Dealing out 24 MB makes a few new chunks where it is cut, and copies nothing.
    """
    objects = MemoryObjects()
    trees = Trees(objects)
    text = lines(1_800_000, mark=b"a line")
    root = directory(trees, {"big": text})
    stored = sum(map(len, objects.stored.values()))

    planned = plan(trees, [data(root)], 2)

    assert 2 == len(planned.containers)
    assert sum(map(len, objects.stored.values())) - stored < 2_000_000


def test_blocks_of_several_files_are_dealt_out_in_the_order_of_the_paths(trees: Trees) -> None:
    """
    Appended outputs of the containers then come in the order of the input.
    """
    root = directory(trees, {"a": lines(30), "d/b": lines(30), "d/c": lines(30), "e": b""})

    found = seen(trees, plan(trees, [data(root)], 4, block_bytes=50))

    joined: dict[str, bytes] = {}
    for files in found:
        for path, content in files.items():
            joined[path] = joined.get(path, b"") + content
    assert files_of(trees, root) == joined
    assert sorted(joined) == list(joined)
    assert 4 == len(found)
    sizes = [sum(map(len, files.values())) for files in found]
    assert max(sizes) - min(sizes) <= 2 * 60


def test_top_level_objects_stay_together_with_the_partition_file(trees: Trees) -> None:
    """
    The example of the reference: /foo, /bar and the directory /buzz.
    """
    root = directory(trees, {"foo": lines(9), "bar": lines(9), "buzz/a": lines(5), "buzz/b": lines(4)})

    found = seen(trees, plan(trees, [data(root, partition=FILE)], 2, block_bytes=5))

    assert [{"bar", "buzz/a", "buzz/b"}, {"foo"}] == [set(files) for files in found]


def test_everything_goes_to_the_only_container_with_the_partition_repo(trees: Trees) -> None:
    """
    A repo is never split, whatever the parallelism.
    """
    root = directory(trees, {"a": lines(100), "b": lines(100)})

    planned = plan(trees, [data(root, partition=REPO)], 8, block_bytes=5)

    assert [root] == [container.inputs["in"] for container in planned.containers]


@pytest.mark.parametrize(
    ("files", "parallelism", "containers"),
    [(1, 3, 1), (2, 3, 2), (3, 3, 2), (3, 4, 2), (4, 4, 4), (9, 7, 4), (9, 8, 8), (9, 1, 1), (9, 0, 1)],
)
def test_parallelism_is_an_upper_bound_and_no_share_is_empty(
    trees: Trees, files: int, parallelism: int, containers: int
) -> None:
    """
    Shares are doubled while each gets something and the bound is kept.
    """
    root = directory(trees, {f"f{number}": b"x" for number in range(files)})

    found = seen(trees, plan(trees, [data(root, partition=FILE)], parallelism))

    assert containers == len(found)
    assert all(found)


def test_one_huge_object_among_small_ones_leaves_no_share_empty(trees: Trees) -> None:
    """
    Whether it stands first, in the middle or last.
    """
    for huge in ("a", "c", "z"):
        files: dict[str, bytes | Entry] = dict.fromkeys("abcz", b"x") | {huge: lines(1000)}

        found = seen(trees, plan(trees, [data(directory(trees, files), partition=FILE)], 4))

        assert [["a"], ["b"], ["c"], ["z"]] == [list(share) for share in found]


def test_what_is_no_file_is_in_exactly_one_share(trees: Trees) -> None:
    """
    Symbolic links, empty files and empty directories are dealt out too.
    """
    link = symlink(b"a", uid=0, gid=0, mtime_ns=0)
    root = directory(trees, {"a": lines(20), "b": b"", "c/": b"", "l": link, "x": lines(20), "y/": b""})

    planned = plan(trees, [data(root)], 2, block_bytes=50)

    paths = Counter(
        b"/".join(path).decode()
        for container in planned.containers
        for path, entry in trees.walk(container.inputs["in"])
        if entry.kind != Kind.FILE or not entry.size
    )
    assert {"b": 1, "c": 1, "l": 1, "y": 1} == paths


# --- several inputs -------------------------------------------------------------------------------


def test_containers_are_the_cross_product_with_the_first_input_most_significant(trees: Trees) -> None:
    """
    Two inputs of two shares each, four containers.
    """
    one = directory(trees, {"a": b"1", "b": b"2"})
    two = directory(trees, {"c": b"3", "d": b"4"})
    inputs = [data(one, repo="one", partition=FILE), data(two, repo="two", partition=FILE)]

    planned = plan(trees, inputs, 4)

    pairs = [
        (*files_of(trees, container.inputs["one"]), *files_of(trees, container.inputs["two"]))
        for container in planned.containers
    ]
    assert [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")] == pairs
    assert [0, 1, 2, 3] == [container.number for container in planned.containers]


def test_the_input_with_the_largest_shares_is_split_first(trees: Trees) -> None:
    """
    One input is ten times as large; the small one remains whole.
    """
    large = directory(trees, {f"f{number}": b"x" * 100 for number in range(10)})
    small = directory(trees, {f"f{number}": b"x" * 10 for number in range(10)})
    inputs = [data(small, repo="small", partition=FILE), data(large, repo="large", partition=FILE)]

    planned = plan(trees, inputs, 4)

    assert {small} == {container.inputs["small"] for container in planned.containers}
    assert 4 == len({container.inputs["large"] for container in planned.containers})


def test_the_jobs_of_the_reference_see_what_its_table_says(trees: Trees) -> None:
    """
    foo with file/incremental, bar with reduce; four commits, three jobs.
    """
    foo1 = directory(trees, {"file-1": b"1"})
    foo2 = directory(trees, {"file-1": b"1", "file-2": b"2"})
    bar1 = directory(trees, {"file-a": b"a"})
    bar2 = directory(trees, {"file-a": b"a", "file-b": b"b"})

    def job(foo: Entry, parent_foo: Entry | None, bar: Entry) -> list[set[str]]:
        inputs = [
            data(foo, parent_foo, repo="foo", partition=FILE, incremental=DIFF),
            data(bar, None, repo="bar", partition=FILE, incremental=NONE),
        ]
        [container] = plan(trees, inputs, 1).containers
        return [set(files_of(trees, container.inputs[repo])) for repo in ("foo", "bar")]

    assert [{"file-1"}, {"file-a"}] == job(foo1, None, bar1)
    assert [{"file-2"}, {"file-a"}] == job(foo2, foo1, bar1)
    assert [{"file-1", "file-2"}, {"file-a", "file-b"}] == job(foo2, None, bar2)


def test_without_inputs_there_are_as_many_containers_as_asked_for(trees: Trees) -> None:
    """
    A pipeline that is run by hand.
    """
    assert [{}, {}, {}] == [container.inputs for container in plan(trees, [], 3).containers]


def test_inputs_in_which_the_job_sees_no_file_are_named(trees: Trees) -> None:
    """
    Nothing was ever put there, or nothing was added.
    """
    root = directory(trees, {"a": b"1"})
    inputs = [
        data(trees.empty_directory(), repo="never"),
        data(root, root, repo="same", incremental=DIFF),
        data(root, repo="some"),
    ]

    planned = plan(trees, inputs, 4)

    assert ("never", "same") == planned.empty
    assert 1 == len(planned.containers)
