"""Whatever was done to repos: a dump restored, and a repo copied, is the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import checked_world
from tests.support.replication import copied, dumped, paths, records, restored

NAMES = st.sampled_from(["a", "b", "dir/c", "dir/deep/d"])
DATA = st.binary(max_size=40) | st.binary(min_size=600, max_size=700) | st.just(bytes(range(256)) * 1200)
COMMIT = st.tuples(
    st.sampled_from(["one", "two"]), st.sampled_from(["master", "dev"]), st.dictionaries(NAMES, DATA)
)


@settings(max_examples=15)
@given(st.lists(COMMIT, max_size=6), st.lists(COMMIT, max_size=3))
def test_a_repo_arrives_as_it_was_and_goes_on(first: list, second: list) -> None:  # type: ignore[type-arg]
    """Commits, a dump and copies of all repos; more commits, and both once more."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        with (
            checked_world(top / "source") as source,
            checked_world(top / "dumped") as by_dump,
            checked_world(top / "copied") as by_copy,
        ):
            for part in (first, second):
                for repo, branch, files in part:
                    source.commit(files, repo=repo, branch=branch)
                restored(by_dump, dumped(source))
                for repo in {repo for repo, _, _ in [*first, *(second if part is second else [])]}:
                    copied(source, by_copy, repo)

                assert records(source) == records(by_dump) == records(by_copy)
                assert paths(source) == paths(by_dump) == paths(by_copy)
