"""The block of a cluster in the text of pg_hba.conf; all other bytes stay."""

from __future__ import annotations

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_hba import (
    Entry,
    HbaError,
    block_lines,
    include_lines,
    render_block,
    with_block,
    without_block,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st

BEGIN, END = "# BEGIN taskfleet.celery_cluster shop", "# END taskfleet.celery_cluster shop"
DEBIAN = """\
# Database administrative login by Unix domain socket
local   all             postgres                                peer

# TYPE  DATABASE        USER            ADDRESS                 METHOD
# IPv4 local connections:
host    all             all             127.0.0.1/32            scram-sha-256
# everything else
# is closed
host    all             all             all                     reject
"""


def entry(comment: str = "w1", address: str = "10.0.0.5/32", user: str = "shop", **more: str) -> Entry:
    return Entry(comment, more.get("kind", "hostssl"), ("shop",), (user,), address, more.get("method", "scram-sha-256"))


REJECT = Entry("every other connection", "host", ("all",), ("shop", "shop_owner"), "all", "reject")


def placed(text: str, before_line: int | None, *entries: Entry) -> list[str]:
    """The text with the block, in which the block is one word."""
    result = with_block(text, "shop", entries or [entry()], before_line)
    first, last = block_lines(result, "shop") or (0, 0)
    lines = result.split("\n")
    return [*lines[: first - 1], "BLOCK", *lines[last:]]


def test_what_the_block_says() -> None:
    local = Entry("the pooler", "local", ("shop",), ("shop",), "", "scram-sha-256")
    owner = entry("app1", "10.0.0.3/32", "shop_owner")
    six = entry("w1", "fd00::5/128", method="cert")
    lines = render_block("shop", [entry(), six, owner, local, entry("", "ci.example.com"), REJECT])
    assert lines == [
        BEGIN,
        "# Written by Ansible from the inventory: a change here is lost with the next run.",
        "# w1",
        "hostssl shop shop 10.0.0.5/32 scram-sha-256",
        "hostssl shop shop fd00::5/128 cert",
        "# app1",
        "hostssl shop shop_owner 10.0.0.3/32 scram-sha-256",
        "# the pooler",
        "local shop shop scram-sha-256",
        "hostssl shop shop ci.example.com scram-sha-256",
        "# every other connection",
        "host all shop,shop_owner all reject",
        END,
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("shop", "shop"),
        ("shop_2.x-y", "shop_2.x-y"),
        ("my shop", '"my shop"'),
        ('say "x"', '"say ""x"""'),
        ("a,b", '"a,b"'),
        ("#x", '"#x"'),
        ("Büro", '"Büro"'),
        ("+group", '"+group"'),
        ("@file", '"@file"'),
        ("replication", '"replication"'),
        ("sameuser", '"sameuser"'),
        ("samerole", '"samerole"'),
        ("samegroup", '"samegroup"'),
        ("Replication", "Replication"),
        ("back\\slash", '"back\\slash"'),
    ],
)
def test_names_that_mean_something_else_are_quoted(name: str, written: str) -> None:
    line = Entry("", "hostssl", (name,), (name, "x"), "all", "cert").line()
    assert line == f"hostssl {written} {written},x all cert"


@pytest.mark.parametrize("name", ["", "/shop", "a\nb", "a\rb", "a\x00b", "a\tb"])
def test_names_that_cannot_be_written(name: str) -> None:
    with pytest.raises(HbaError, match=r"cannot be written as a name.*choose one"):
        render_block("shop", [entry(user=name)])


@pytest.mark.parametrize("address", ["10.0.0.5/32 trust #", "a,b", '"x"', "h\nhost"])
def test_an_address_stays_one_field(address: str) -> None:
    with pytest.raises(HbaError, match=r"no address for pg_hba.conf: write a network like"):
        render_block("shop", [entry(address=address)])


def test_a_single_address_has_all_its_bits() -> None:
    assert entry(address="10.0.0.5").line() == "hostssl shop shop 10.0.0.5/32 scram-sha-256"
    assert entry(address="fd00::5").line() == "hostssl shop shop fd00::5/128 scram-sha-256"


@pytest.mark.parametrize("comment", ["w1\nhost all all all trust", "w1\\", "w1 \\ \\", "w1\r", "w1\x00\x0b"])
def test_a_comment_stays_one_line(comment: str) -> None:
    lines = render_block("shop", [entry(comment)])
    assert len(lines) == 5
    assert lines[2].startswith("# w1") and not lines[2].endswith("\\") and lines[2].isprintable()


def test_no_entries_no_block() -> None:
    assert render_block("shop", []) == []
    assert with_block(DEBIAN, "shop", [], 6) == DEBIAN


def test_at_the_end() -> None:
    assert placed("a\nb\n", None) == ["a", "b", "BLOCK", ""]
    assert placed("", None) == ["BLOCK", ""]


def test_comments_stay_with_their_line() -> None:
    lines = DEBIAN.split("\n")
    assert placed(DEBIAN, 9) == [*lines[:6], "BLOCK", *lines[6:]]
    # The table's head stands right above the comment of the line.
    assert placed(DEBIAN, 6) == [*lines[:3], "BLOCK", *lines[3:]]
    assert placed(DEBIAN, 2) == ["BLOCK", *lines]
    assert placed("# head\n\nhost a\n", 3) == ["# head", "", "BLOCK", "host a", ""]
    assert placed("x\n  # a\n\t#b\nhost a", 4) == ["x", "BLOCK", "  # a", "\t#b", "host a"]


@pytest.mark.parametrize(
    ("text", "before_line", "result"),
    [
        # The comment is the rest of a rule, and its second line looks like one.
        ("x \\\n# a\nhost b\n", 3, ["x \\", "# a", "BLOCK", "host b", ""]),
        ("x \\\n# a \\\n# b\nhost b\n", 4, ["x \\", "# a \\", "# b", "BLOCK", "host b", ""]),
        ("x \\\n# a\n# c\nhost b\n", 4, ["x \\", "# a", "BLOCK", "# c", "host b", ""]),
        # A comment of two lines is one.
        ("x\n# a \\\n# b\nhost b\n", 4, ["x", "BLOCK", "# a \\", "# b", "host b", ""]),
        ("x\n# a \\\nhost a\n# b\nhost b\n", 5, ["x", "# a \\", "host a", "BLOCK", "# b", "host b", ""]),
        # PostgreSQL 13 knows no continuation: the rule below the backslash is one.
        ("host a # \\\nhost b\n", 2, ["host a # \\", "BLOCK", "host b", ""]),
        # The catching line itself is continued.
        ("x\nhost \\\n b\n", 2, ["x", "BLOCK", "host \\", " b", ""]),
    ],
)
def test_continued_lines_are_not_torn(text: str, before_line: int, result: list[str]) -> None:
    assert placed(text, before_line) == result


def test_the_end_below_a_backslash_is_refused() -> None:
    for text in ("host a \\", "host a \\\n", "# c:\\\r\n"):
        with pytest.raises(HbaError, match=r"last line \(1\) ends with a backslash.*add an empty line"):
            with_block(text, "shop", [entry()], None)
    assert placed("host a \\\n\n", None) == ["host a \\", "", "BLOCK", ""]


@pytest.mark.parametrize(
    ("text", "before_line", "result"),
    [
        # What another tool keeps is not entered: its next run would remove our lines.
        ("#x\n\n# BEGIN M\na\nb\n# END M\nc\n", 5, ["#x", "", "BLOCK", "# BEGIN M", "a", "b", "# END M", "c", ""]),
        ("y\n#x\n# BEGIN M\na\n# END M\n", 4, ["y", "BLOCK", "#x", "# BEGIN M", "a", "# END M", ""]),
        # Its end is no comment of the next line.
        ("# BEGIN M\na\n# END M\nb\n", 4, ["# BEGIN M", "a", "# END M", "BLOCK", "b", ""]),
        ("# BEGIN M\na\n# END M\n# b\nb\n", 5, ["# BEGIN M", "a", "# END M", "BLOCK", "# b", "b", ""]),
        # One in another.
        ("#BEGIN M\n#BEGIN N\na\n#END N\n#END M", 3, ["BLOCK", "#BEGIN M", "#BEGIN N", "a", "#END N", "#END M"]),
        # Of two beginnings nobody knows which counts.
        ("#BEGIN M\nx\na\n#BEGIN M\n#END M\n", 3, ["BLOCK", "#BEGIN M", "x", "a", "#BEGIN M", "#END M", ""]),
        # Marks without a partner are comments.
        ("x\n# END of old rules\na\n", 3, ["x", "BLOCK", "# END of old rules", "a", ""]),
        ("# BEGIN M\na\nb\n", 3, ["# BEGIN M", "a", "BLOCK", "b", ""]),
        ("x \\\n# BEGIN M\na\nb\n# END M\n", 4, ["x \\", "# BEGIN M", "a", "BLOCK", "b", "# END M", ""]),
    ],
)  # fmt: skip
def test_blocks_of_others_stay_whole(text: str, before_line: int, result: list[str]) -> None:
    assert placed(text, before_line) == result


def test_two_clusters_in_one_file() -> None:
    one = with_block(DEBIAN, "shop", [entry()], 9)
    # Below the first block begins the comment of the catching line; in it, the line of the first cluster catches.
    for before_line in (12, 10):
        both = with_block(one, "mail", [entry()], before_line)
        assert without_block(both, "mail") == one
        assert without_block(without_block(both, "shop"), "mail") == DEBIAN


def test_line_ends_are_those_of_the_file() -> None:
    windows = with_block("a\r\nb\r\n", "shop", [entry()], 2)
    assert windows.count("\n") == windows.count("\r\n") == 7
    assert with_block("a\r\nb", "shop", [entry()], None).startswith(f"a\r\nb\r\n{BEGIN}\r\n")
    assert "\r" not in with_block("a\nb", "shop", [entry()], 2)
    # The last line has no end of its own: as the one above it.
    assert f"{BEGIN}\r\n" in with_block("a\r\nb", "shop", [entry()], 2)
    assert f"{BEGIN}\r\n" in with_block("a\nb\r\nc", "shop", [entry()], 3)


def test_a_missing_line_end_stays_missing() -> None:
    text = with_block("a\nb", "shop", [entry()], None)
    assert text.startswith(f"a\nb\n{BEGIN}\n") and text.endswith(f"\n{END}")
    assert without_block(text, "shop") == "a\nb"
    # Somebody's line, put below since, keeps its place.
    assert without_block(text + "\nc\n", "shop") == "a\nb\nc\n"
    assert with_block("a\nb", "shop", [entry()], 2).endswith(f"{END}\nb")
    # The mark is recognised in whatever line ends an editor left.
    assert without_block(f"a\r\n{BEGIN} \r\nx\r\n\t{END}\r\nb\r\n", "shop") == "a\r\nb\r\n"


def test_where_the_block_is() -> None:
    assert block_lines(DEBIAN, "shop") is None
    assert block_lines(with_block("a\nb\n", "shop", [entry()], 2), "shop") == (2, 6)
    # The name of one cluster may begin with that of another.
    assert block_lines(with_block("a\n", "shop2", [entry()], 1), "shop") is None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([BEGIN, "a"], r"\(line 1\).*\(missing\)"),
        (["a", END], r"\(missing\).*\(line 2\)"),
        ([END, "a", BEGIN], r"\(line 3\).*\(line 1\)"),
        ([BEGIN, END, "a", BEGIN, END], r"\(line 1, 4\).*\(line 2, 5\)"),
        ([BEGIN, BEGIN, END], r"\(line 1, 2\).*\(line 3\)"),
    ],
)
def test_marks_that_enclose_no_block(lines: list[str], told: str) -> None:
    text = "\n".join(lines) + "\n"
    for function in (without_block, block_lines):
        with pytest.raises(HbaError, match=told + ".*remove both"):
            function(text, "shop")
    with pytest.raises(HbaError):
        with_block(text, "shop", [entry()], None)


def test_another_cluster_inside_the_block() -> None:
    mail = BEGIN.replace("shop", "mail")
    with pytest.raises(HbaError, match=r"line 3 .*cluster mail.*inside the block of the cluster shop \(lines 2 to 5\)"):
        without_block(f"a\n{BEGIN}\n{mail}\nx\n{END}\n", "shop")


def test_a_block_is_not_put_twice() -> None:
    with pytest.raises(HbaError):
        with_block(with_block("a\n", "shop", [entry()], None), "shop", [entry()], None)


@pytest.mark.parametrize("comment", ["BEGIN taskfleet.celery_cluster shop", "END taskfleet.celery_cluster shop"])
def test_a_comment_that_reads_like_a_mark(comment: str) -> None:
    with pytest.raises(HbaError):
        with_block("a\n", "shop", [entry(comment)], None)


def test_a_name_that_breaks_the_mark() -> None:
    with pytest.raises(HbaError, match="reads like the marks"):
        with_block("a\n", "shop\nx", [entry()], None)


@pytest.mark.parametrize("before_line", [0, 4, -1])
def test_a_line_that_is_not_there(before_line: int) -> None:
    with pytest.raises(HbaError, match=f"line {before_line} is no longer in the file.*run again"):
        with_block("a\nb\nc\n", "shop", [entry()], before_line)


def test_lines_that_include() -> None:
    text = (
        "include a.conf\n"
        "# include b.conf\n"
        "\tinclude_if_exists\tc.conf # x\n"
        "# d \\\n"
        "include e.conf\n"
        "include \\\r\n"
        "  f.conf\r\n"
        ' "include_dir" "g d"\r\n'
        "included all all all trust\n"
        "host include include all md5\n"
        " \\\n"
        "include h.conf\n"
        "include\\"
    )
    assert include_lines(text) == [1, 3, 6, 8, 11, 13]


odd = st.text(st.sampled_from("ab #\\\n\r\t\"',\x0b\x0c\x85\u2028\udce9é") | st.characters())
rules = st.sampled_from(
    ["host all all all md5", "# note", "", "# a \\", "x \\", "# BEGIN M", "# END M", "\r", " #", "# END x", "include a"]
)
texts = odd | st.lists(rules | odd).flatmap(lambda lines: st.sampled_from(["\n", "\r\n"]).map(lambda e: e.join(lines)))
entries = st.lists(
    st.builds(
        Entry,
        comment=st.text(max_size=12),
        kind=st.just("hostssl"),
        databases=st.just(("shop",)),
        users=st.sampled_from([("shop",), ("a b", "c")]),
        address=st.sampled_from(["10.0.0.5/32", "fd00::5/128", "h.example.com", "all"]),
        method=st.sampled_from(["scram-sha-256", "cert", "reject"]),
    ),
    max_size=3,
)


@given(texts, entries, st.data())
@example("a\r", [entry()], None)
@example("a\r\nb\r", [entry()], None)
@example("\n", [entry()], None)
@example("\r\n\r", [entry()], None)
def test_every_other_byte_stays(text: str, wanted: list[Entry], data: st.DataObject | None) -> None:
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    before_line = data.draw(st.none() | st.integers(1, lines)) if data and lines else None
    # Refused, as another test shows.
    assume(before_line or not text.rstrip("\r\n").endswith("\\") or text.endswith("\n\n"))
    assume(before_line or not text.split("\n")[-1 - text.endswith("\n")].rstrip("\r").endswith("\\"))
    result = with_block(text, "shop", wanted, before_line)
    assert without_block(result, "shop") == text
    if wanted:
        first, last = block_lines(result, "shop") or (0, 0)
        assert before_line is None or first <= before_line
        kept = result.split("\n")
        # What the server reads as ours is what was rendered, whole, and nothing of ours stands elsewhere.
        assert [line.rstrip("\r") for line in kept[first - 1 : last]] == render_block("shop", wanted)
        # Written anew, the file is the same.
        assert with_block(without_block(result, "shop"), "shop", wanted, before_line) == result
    else:
        assert result == text
