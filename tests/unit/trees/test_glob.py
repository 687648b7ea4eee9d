"""The glob language and walking trees by it."""

from __future__ import annotations

import time

import pytest

from pfsfuse.trees.entry import Entry
from pfsfuse.trees.glob import Glob, GlobSyntaxError, has_glob, quote, replace
from pfsfuse.trees.glob_matcher import Matcher
from pfsfuse.trees.tree import Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file

# Pattern, separators, what it matches, what it does not.
TABLE = [
    ("", "", [""], ["b"]),
    ("abc", "", ["abc"], ["ABC", "abcd"]),
    ("sta", "", ["sta"], ["stagnation"]),
    ("sta*", "", ["stagnation"], ["st"]),
    ("sta?", "", [], ["stagnation"]),
    ("sta?n", "", [], ["stagnation"]),
    # stars and single characters
    ("a*c", "", ["abc", "a12345c", "ac"], ["a"]),
    ("a.*", ".", ["a.b"], ["a.b.c"]),
    ("*", ".", ["", "a", "a\nb"], ["a.b.c"]),
    ("a.**", ".", ["a.b.c"], ["a"]),
    ("**", ".", ["a.b.c", "", "a\nb"], []),
    ("**is**a***test*", "", ["this is a test"], ["this is"]),
    ("*", "/", [".hidden", ""], ["a/b"]),
    ("a?c", "", ["a1c"], ["ac"]),
    ("?at", "", ["cat", "fat"], ["at"]),
    ("?at", "f", ["cat"], ["fat"]),
    ("a.?.c", ".", ["a.b.c"], ["a.bb.c"]),
    ("???", "", ["abc"], ["ab"]),
    ("?*?", "", ["ac", "abc"], ["a"]),
    ("?", "", ["a"], ["aa", ""]),
    ("??", "", [], ["a", "aab"]),
    # escapes and other alphabets
    (r"\*", "", ["*"], ["a", ""]),
    (r"a\(*b", "", ["a(b", "a((((b"], ["ab"]),
    ("*ä", "", ["åä"], ["äå"]),
    ("?ä", "", ["åä"], ["ä"]),
    # classes
    ("[a-z]", "", ["c"], ["C", "cc"]),
    ("[!a]*", "", ["this is a test3"], ["a test"]),
    ("[!/][!/]/../", "", ["ab/../"], ["a//../"]),
    ("[^/][^/]/../", "", ["ab/../"], ["a//../"]),
    ("[[:alpha:]]", "", ["C"], ["5", "[", ":"]),
    ("[[:^alpha:]]", "", ["."], ["a"]),
    ("[^[:alpha:]]", "", ["."], ["a"]),
    ("[[:space:]]", "", ["\t"], ["a"]),
    ("[[:digit:]_-]", "", ["7", "_", "-"], ["a"]),
    (r"[a*\(]*z", "", ["abcz"], ["abcx", "bbc"]),
    ("a[b*(foo|bar)]d", "", ["abd", "a(d"], ["abc", "acd"]),
    (r"[a\-c]", "", ["-", "a", "c"], ["b"]),
    (r"[\]]", "", ["]"], ["["]),
    # braces
    ("{abc,def}ghi", "", ["defghi"], ["ghi"]),
    ("{abc,abcd}a", "", ["abcda"], []),
    ("{a,ab}{bc,f}", "", ["abc", "af", "abbc"], ["a"]),
    ("{*,**}{a,b}", "", ["ab"], ["ac"]),
    ("/{rate,[a-z][a-z][a-z]}*", "/", ["/rate", "/usd"], ["/us"]),
    (
        "*//{,*.}example.com",
        "",
        ["http://example.com", "https://www.example.com"],
        ["http://example.com.net"],
    ),
    ("{*.google.*,yandex.*}", ".", ["www.google.com", "yandex.com"], ["www.yandex.com", "google.com"]),
    ("a,b|c}", "", ["a,b|c}"], ["a"]),
    ("{a|b,c}", "", ["a|b", "c"], ["a"]),
    ("(a,b|c)", "", ["a,b", "c"], ["a"]),
    # groups
    ("(a|d).(a|b)*", "", ["a.a", "a.b", "a.bb"], ["b.a"]),
    ("*.(a|b)", "", ["a.a.a", "a.a", "a.b", "c.a"], ["a.bb", "a.ccc", "d.a.d"]),
    ("(b)", "", ["b"], ["a"]),
    ("@(a)", "", ["a"], ["", "aa", "aaX"]),
    ("*(a)", "", ["", "a", "aa", "aaa"], ["aaX", "bbb"]),
    ("+(a)", "", ["a", "aa", "aaa"], ["", "aaX"]),
    ("?(a)", "", ["", "a"], ["aa", "aaX"]),
    ("(a+|b)*", "", ["a+", "bx"], ["zz"]),
    ("+()c", "", ["c"], ["abc"]),
    ("*(*(of*(o)x)o)", "", ["ofoooxoofxoofoooxoofxoo", "ofxoofxo"], ["ofoooxoofxoofoooxoofxofo"]),
    ("*(f*(o)x)", "", ["foooxfooxfxfooox"], ["foooxfooxofoxfooox"]),
    ("@(foo|f|fo)*(f|of+(o))", "", ["foofoofo"], []),
    ("ab**(e|f)g", "", ["abcfefg"], ["ab", "abcfef"]),
    ("ab***ef", "", ["abcfef", "abef"], ["abcfefg"]),
    ("para?([345]|99)1", "", ["para991"], ["para381"]),
    ("@(a)@b+c!d^e", "", ["a@b+c!d^e"], ["a"]),
    # negations: what is forbidden is a beginning where text or a star follows, else the whole rest
    ("!(a)", "", ["", "aa", "aaX", "bbb"], ["a"]),
    ("!(x)", "", ["foo", "foo/bar"], ["x"]),
    ("!(x)", "/", ["foo"], ["foo/bar"]),
    ("!(foo)", "", ["foobar"], ["foo"]),
    ("!(!(foo))", "", ["foo"], ["foobar", "bar"]),
    ("!(!(!(foo)))", "", ["bar"], ["foo"]),
    ("!(!(!(!(foo))))", "", ["foo"], []),
    ("!(*.js|*.json)", "", ["a.js.gz", "a.json.gz", "a.gz"], ["a.js", "a.json"]),
    ("*.!(js)", "", ["foo.js.js", "bar.min.js"], ["a-integration-test.js"]),
    ("!(foo)*", "", ["bar"], ["foo", "foobar"]),
    ("!(foo)b*", "", ["b", "bb"], ["foob", "foobb"]),
    ("!(*.*).!(*.*)", "", [], ["moo.cow", "mad.moo.cow"]),
    ("*.!(a|b|c)*", "", ["a.x"], ["a.abcd"]),
    ("@(!(z*)|*x)", "", ["foot", "foox", "zoox"], ["zoot"]),
    ("*(!(f))", "", ["fff", "ooo", "foo"], ["f"]),
    ("*(!(foo))", "", [], ["foo"]),
    ("*-!(integration-)test.js", "", ["a-integration-test.js"], []),
    ("*-!(integration)-test.js", "", [], ["a-integration-test.js"]),
    ("*!(integration)-test.js", "", ["a-integration-test.js"], []),
    ("*-!(integration)?test.js", "", [], ["a-integration-test.js"]),
    ("*(*.json|!(*.js))", "", ["testjson.json", "other.bar"], ["foojs.js"]),
    ("!(*(*.json|!(*.js)))*", "", [], ["other.bar"]),
    ("a/!(*(.js.js))", "", ["a/foo.js.js"], []),
    ("!*.(a|b)", "", ["!x.a"], ["a.a"]),
]

CAPTURED = [
    ("test/(a|b)/x.go", "test/a/x.go", ["a"]),
    ("test/(a|b)", "hi/123", None),
    ("test/a*(a|b)/x.go", "test/aba/x.go", ["ba"]),
    ("test/a*(a|b)/x.go", "test/a/x.go", [""]),
    ("test/+(a|b)/(*).go", "test/ab/x.go", ["ab", "x"]),
    ("test/!(a|b)/x.go", "test/y/x.go", ["y"]),
    ("test/a*(a|b)/*(*).go", "test/aaaa/x.go", ["aaa", "x"]),
    ("test/a?(a|b)/?(*).go", "test/aa/x.go", ["a", "x"]),
    ("test*(/?(+(a|b)/*.go))", "test/a/x.go", ["/a/x.go", "a/x.go", "a"]),
    ("*((a)|(b))", "ab", ["ab", "a", "b"]),
    ("(*)-(*)", "a-b-c", ["a-b", "c"]),
    ("{(a),(b)}", "b", ["", "b"]),
    ("!((x)|y)(*)", "zz", ["zz", "", ""]),
]

MALFORMED = {
    "[": "[ is not closed",
    "[a": "[ is not closed",
    "x[]y": "no characters between [ and ]",
    "[z-a]": "the range z-a ends before it begins",
    "[[:nope:]]": "no class [:nope:]",
    "a(b": "( is not closed",
    "a!(b|c": "!( is not closed",
    "{a,b": "{ is not closed",
    "({)}": "is not closed",
    "a\\": "a backslash at the end",
    "^(a)": "a negation is written !(",
    "(" * 100: "groups in each other",
    "a" * 10_000: "longer than",
}


@pytest.mark.parametrize("allow_regex", [True, False])
@pytest.mark.parametrize(("pattern", "separators", "yes", "no"), TABLE)
def test_a_pattern_matches_what_the_table_says(
    pattern: str, separators: str, yes: list[str], no: list[str], allow_regex: bool
) -> None:
    """
    By `re` where that is safe, and by the bounded matcher.
    """
    matcher = Matcher(pattern, separators=separators, allow_regex=allow_regex)

    assert yes == [text for text in yes if matcher.match(text) is not None]
    assert [] == [text for text in no if matcher.match(text) is not None]


@pytest.mark.parametrize("allow_regex", [True, False])
@pytest.mark.parametrize(("pattern", "text", "groups"), CAPTURED)
def test_groups_capture_and_are_numbered_by_their_opening_parentheses(
    pattern: str, text: str, groups: list[str] | None, allow_regex: bool
) -> None:
    """
    Group 0 is the whole text; one that took no part is empty.
    """
    found = Matcher(pattern, separators="", allow_regex=allow_regex).match(text)

    assert (None if groups is None else (text, *groups)) == found


@pytest.mark.parametrize("pattern", MALFORMED)
def test_a_pattern_that_makes_no_sense_is_an_error_and_says_where(pattern: str) -> None:
    """
    It never just matches nothing.
    """
    with pytest.raises(GlobSyntaxError, match=r"at character \d+") as caught:
        Glob(pattern)

    assert MALFORMED[pattern] in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a" * 30 + "b", "a" * 2000),
        ("+(+(+(+(a))))b", "a" * 2000),
        ("+(a|aa|*a*)!(x)" * 5, "a" * 2000),
        ("{a,a,aa}" * 60 + "b", "a" * 250),
        ("!(*a*a*a*a*b)!(*a*(a*a)c)x", "a" * 2000),
        ("**" + "(**)" * 20 + "/b", "/" * 1000),
        ("*(|a|*())" * 3 + "b", "a" * 1000),
    ],
)
def test_a_hostile_pattern_does_not_hang(pattern: str, text: str) -> None:
    """
    Each would take a back-tracking matcher longer than the universe is old.
    """
    start = time.perf_counter()
    Matcher(pattern, separators="").match(text)
    Matcher(pattern, separators="").match(text[:-1] + "b")

    assert time.perf_counter() - start < 10.0


def test_quoting_makes_a_pattern_that_matches_just_the_text() -> None:
    """
    Whatever is special in it; other text stays as it is.
    """
    assert r"\[foo\*\]" == quote("[foo*]")
    assert r"some text and \*\?\\\[\]\{\}" == quote(r"some text and *?\[]{}")
    assert ("a|b,c-d",) == Matcher(quote("a|b,c-d")).match("a|b,c-d")
    assert not has_glob("a.b") and has_glob("a*b")


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$3 of $1 from $2", "photos of adele from 2016"),
        ("$1", "adele"),
        ("${1}1", "adele1"),
        ("$$1", "$1"),
        ("$0", "name=adele/year=2016/photos.dat"),
        ("$10|${11}|$99999999999999999999", "||"),
        ("$01|a$|$x|${1|$", "|a$|$x|${1|$"),
        ("", ""),
    ],
)
def test_a_template_is_filled_in_with_the_groups(template: str, filled: str) -> None:
    """
    As in join_on and group_by.
    """
    captures = Matcher("name=(*)/year=(*)/(*).dat").match("name=adele/year=2016/photos.dat")
    assert captures is not None

    assert filled == replace(template, captures)


def test_there_may_be_more_than_nine_groups() -> None:
    """
    $10 is group ten, not group one and a zero.
    """
    captures = Matcher("(?)" * 11).match("abcdefghijk")
    assert captures is not None

    assert "j|a0" == replace("$10|${1}0", captures)


# Walking


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def trees(objects: MemoryObjects) -> Trees:
    return Trees(objects, shape=SMALL_SHAPE)


def directory(trees: Trees, *paths: str) -> Entry:
    changes = {tuple(path.encode().split(b"/")): a_file(path) for path in paths}
    return trees.apply(trees.empty_directory(), changes)


@pytest.fixture
def hundreds(trees: Trees) -> Entry:
    """The tree of the original's own tests: files at three levels."""
    names = [f"file{number}" for number in range(100)]
    return directory(trees, *names, *(f"dir1/{n}" for n in names), *(f"dir2/dir3/{n}" for n in names))


def paths(trees: Trees, root: Entry, pattern: str) -> list[str]:
    return [
        "/" + b"/".join(path).decode() + ("/" if path and entry.is_directory else "")
        for path, entry, _ in Glob(pattern).walk(trees, root)
    ]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", 102),
        ("/*", 102),
        ("file*", 100),
        ("/file*", 100),
        ("dir1/*", 100),
        ("/dir1/*/", 100),
        ("dir2/dir3/*", 100),
        ("*/*", 101),
        ("dir2/dir3/file1?", 10),
        ("**file1?", 30),
        ("**file1", 3),
        ("**", 303),
        ("/", 1),
        ("", 1),
        ("dir1", 1),
        ("{dir1,dir2/dir3}/file[!0-8]", 2),
        ("!(dir1)/*", 1),
        ("nope/**", 0),
    ],
)
def test_a_pattern_finds_files_and_directories_of_a_tree(
    trees: Trees, hundreds: Entry, pattern: str, count: int
) -> None:
    """
    A slash at the beginning is implied, one at the end makes no difference.
    """
    found = paths(trees, hundreds, pattern)

    assert count == len(found)
    assert sorted(found) == found


def test_an_empty_tree_has_nothing_but_its_root(trees: Trees) -> None:
    """
    As after deleting everything.
    """
    assert [] == paths(trees, trees.empty_directory(), "**")
    assert ["/"] == paths(trees, trees.empty_directory(), "/")


def test_paths_come_in_the_order_of_their_bytes_with_a_slash_behind_directories(trees: Trees) -> None:
    """
    `-` and `.` stand before `/`, digits and letters behind.
    """
    root = directory(trees, "dir/bar", "dir.bar", "dir2/x", "dir-1/y", "dir/dir2/buzz", "foo")

    assert ["/dir-1/", "/dir.bar", "/dir/", "/dir2/", "/foo"] == paths(trees, root, "*")
    assert sorted(paths(trees, root, "**")) == paths(trees, root, "**")


def test_names_that_are_no_utf8_are_matched_byte_by_byte(trees: Trees) -> None:
    """
    The mount takes any bytes.
    """
    root = trees.update(trees.empty_directory(), {b"\xff\xe4.txt": a_file(), "ä.txt".encode(): a_file()})

    assert [b"\xff\xe4.txt"] == [path[0] for path, _, _ in Glob("??.txt").walk(trees, root)]
    assert ["ä".encode() + b".txt"] == [path[0] for path, _, _ in Glob("(?).txt").walk(trees, root)]


def test_captures_come_with_what_was_found(trees: Trees) -> None:
    """
    The path is group 0, without a slash at its end.
    """
    root = directory(trees, "a-1/x.csv", "b-2/y.csv", "b-2/z.txt")

    found = [captures for _, _, captures in Glob("/(*)-(?)/(*).csv").walk(trees, root)]

    assert [("/a-1/x.csv", "a", "1", "x"), ("/b-2/y.csv", "b", "2", "y")] == found
    assert [("/a-1", "a"), ("/b-2", "b")] == [c for _, _, c in Glob("/(*)-?/").walk(trees, root)]


def test_a_range_of_paths_narrows_a_pattern(trees: Trees) -> None:
    """
    From the lower bound on, before the upper one; directories are entries of their own.
    """
    root = directory(trees, *(f"dir{d}/file{f}" for d in range(3) for f in range(3)))
    every = paths(trees, root, "**")
    bounds = ["", *every, "/dir1/file1x", "/zzz"]

    for lower in bounds:
        for upper in [*bounds[1:], None]:
            expected = [path for path in every if lower <= path and (upper is None or path < upper)]
            raw = None if upper is None else upper.encode()
            found = [key for key, _, _ in Glob("**").walk(trees, root, lower=lower.encode(), upper=raw)]
            assert [path.strip("/") for path in expected] == [b"/".join(path).decode() for path in found]


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("d777/f3", 20), ("/d77/*", 20), ("{d1,d500}/f{1,2}", 40), ("d99?/f1", 60), ("d7/**", 20), ("/", 0)],
)
def test_a_walk_reads_no_more_than_it_must(objects: MemoryObjects, pattern: str, most: int) -> None:
    """
    A thousand directories in some four hundred nodes; a pattern that names one does not read the others.
    """
    root = directory(
        Trees(objects, shape=SMALL_SHAPE), *(f"d{d}/f{f}" for d in range(1000) for f in range(4))
    )
    objects.gets.clear()
    fresh = Trees(objects, shape=SMALL_SHAPE)

    found = paths(fresh, root, pattern)

    assert found
    assert objects.gets.total() <= most
