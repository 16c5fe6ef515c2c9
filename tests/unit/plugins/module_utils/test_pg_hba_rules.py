"""What the rules of pg_hba.conf mean for a cluster; the recorded ones are of real servers, PostgreSQL 15 and 17."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_hba import (
    Entry,
    HbaError,
    with_block,
    without_block,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_hba_match import Match, match
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_hba_rules import (
    Rule,
    catching_line,
    differences,
    faults,
    notes,
    others,
    read_rules,
    taken_over,
)
from hypothesis import given
from hypothesis import strategies as st

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ["15", "17"]
MAIN = "/etc/postgresql/17/main/pg_hba.conf"
SCRAM = "scram-sha-256"
REJECT = Entry("every other connection", "host", ("all",), ("shop", "shop_owner"), "all", "reject")
ALL_ONES = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}


def recorded(version: str) -> tuple[str, list[Rule]]:
    rows = json.loads((RECORDED / f"pg_hba-{version}.json").read_text())
    return (RECORDED / f"pg_hba-{version}.conf").read_text(), read_rules(rows, MAIN)


def entry(address: str = "10.0.0.5/32", user: str = "shop", database: str = "shop", **more: str) -> Entry:
    kind, method = more.get("kind", "hostssl"), more.get("method", SCRAM)
    return Entry(more.get("comment", "w1"), kind, (database,), (user,), "" if kind == "local" else address, method)


def rule(line: str, number: int = 1, file: str = MAIN, error: str = "") -> Rule:
    """A rule written as in the file: a network in place of address and mask, options behind the method."""
    kind, databases, users, *rest = line.split()
    address = netmask = ""
    if kind != "local":
        address = rest.pop(0)
        if "/" in address:
            network = ipaddress.ip_network(address)
            address, netmask = str(network.network_address), str(network.netmask)
        elif rest[0][0].isdigit():
            netmask = rest.pop(0)
    method, *options = rest
    names = (tuple(databases.split(",")), tuple(users.split(",")))
    return Rule(file, number, kind, *names, address, netmask, method, tuple(options), error)


def rules_of(text: str) -> list[Rule]:
    lines = enumerate(text.split("\n"), 1)
    return [rule(line, number) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]


def row(number: int, line: int, **more: Any) -> dict[str, Any]:
    names = ("type", "database", "user_name", "address", "netmask", "auth_method", "options", "error")
    return {"rule_number": number, "file_name": MAIN, "line_number": line, **dict.fromkeys(names), **more}


# Reading


def test_rows_of_15_and_17_read_alike() -> None:
    old, new = recorded("15")[1], recorded("17")[1]
    assert {found.file for found in old} == {MAIN}
    assert [found.line for found in old] == [5, 8, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 28]
    # The file of 17 has includes and regular expressions besides.
    included = [found for found in new if found.file != MAIN]
    assert [Path(found.file).name for found in included] == ["10-team.conf", "20-team.conf", "catch all.conf"]
    theirs = [found.meaning() for found in new if found.file == MAIN and "/^intruder" not in found.users]
    assert theirs == [found.meaning() for found in old if "intruder" not in found.users]
    assert old[6] == Rule(
        file=MAIN,
        line=16,
        kind="hostssl",
        databases=("accounts", "billing"),
        users=("alice", "bob", "carol", "+staff"),
        address="10.1.0.0",
        netmask="255.255.0.0",
        method="md5",
        options=(),
        error="",
    )


def test_the_order_is_that_in_which_the_server_tries() -> None:
    other = "/etc/postgresql/17/main/x.conf"
    rows = [row(3, 2), row(1, 9, file_name=other), row(2, 1)]
    assert [(found.file, found.line) for found in read_rules(rows, MAIN)] == [(other, 9), (MAIN, 1), (MAIN, 2)]
    # A row with an error has no number.
    rows = [row(1, 1), row(0, 2, rule_number=None, error="bad"), row(2, 3)]
    assert [found.line for found in read_rules(rows, MAIN)] == [1, 2, 3]
    # Before 16 only the lines are numbered.
    rows = [{name: value for name, value in row(0, line).items() if name != "rule_number"} for line in (3, 1, 2)]
    assert [found.line for found in read_rules(rows, MAIN)] == [1, 2, 3]


@pytest.mark.parametrize("version", VERSIONS)
def test_rules_of_others_are_numbered_as_without_the_block(version: str) -> None:
    text, rules = recorded(version)
    disk = with_block(text, "shop", [entry(), REJECT], 16)
    # As the server would see the file: the lines below the block are lower down.
    at = disk.split("\n").index("# BEGIN taskfleet.celery_cluster shop") + 1
    height = disk.count("\n") - text.count("\n")
    on_disk = [
        Rule(**{**vars(found), "line": found.line + (height if found.file == MAIN and found.line >= at else 0)})
        for found in rules
    ]
    ours = [rule("hostssl shop shop 10.0.0.5/32 scram-sha-256", at + 3), rule("host all shop all reject", at + 5)]
    place = next(i for i, found in enumerate(on_disk) if found.file == MAIN and found.line > at)
    found = others([*on_disk[:place], *ours, *on_disk[place:]], disk, "shop", MAIN)
    assert [(each.file, each.line) for each in found] == [(each.file, each.line) for each in rules]
    assert [each.where for each in found] == [each.where for each in on_disk]
    assert others(rules, text, "shop", MAIN) == rules


# Whether a rule decides


class Case(NamedTuple):
    rule: str
    entry: Entry
    match: Match


NO, MAYBE, SURE = Match
WORKER, SIX, NAMED, LOCAL = entry(), entry("fd00::5/128"), entry("w1.example.com"), entry(kind="local")
CASES = [
    # Kinds: ours are connections over TLS, never encrypted by GSSAPI.
    Case("host all all all md5", WORKER, SURE),
    Case("hostssl all all all md5", WORKER, SURE),
    Case("hostnogssenc all all all md5", WORKER, SURE),
    Case("hostnossl all all all md5", WORKER, NO),
    Case("hostgssenc all all all md5", WORKER, NO),
    Case("local all all md5", WORKER, NO),
    Case("local all all md5", LOCAL, SURE),
    Case("host all all all md5", LOCAL, NO),
    Case("hostnossl all shop all md5", REJECT, SURE),
    # Databases
    Case("host shop all all md5", WORKER, SURE),
    Case("host a,b,shop all all md5", WORKER, SURE),
    Case("host Shop all all md5", WORKER, NO),
    Case("host sho all all md5", WORKER, NO),
    Case("host replication all all md5", WORKER, NO),
    Case("host replication,all all all md5", WORKER, SURE),
    Case("host sameuser all all md5", WORKER, SURE),
    Case("host sameuser all all md5", entry(user="shop_owner"), NO),
    Case("host samerole all all md5", WORKER, SURE),
    Case("host samerole all all md5", entry(user="shop_owner"), MAYBE),
    Case("host samegroup all all md5", entry(user="shop_owner"), MAYBE),
    Case("host /^sh all all md5", WORKER, MAYBE),
    Case("host /^crm all all md5", WORKER, NO),
    Case("host /^crm,shop all all md5", WORKER, SURE),
    # A name that is a keyword: the view does not tell which of both is meant.
    Case("host replication all all md5", entry(database="replication"), MAYBE),
    Case("host sameuser all all md5", entry(database="sameuser"), MAYBE),
    # Users
    Case("host all shop all md5", WORKER, SURE),
    Case("host all other,shop all md5", WORKER, SURE),
    Case("host all shop_owner all md5", WORKER, NO),
    Case("host all +staff all md5", WORKER, MAYBE),
    Case("host all +staff,shop all md5", WORKER, SURE),
    Case("host all +shop all md5", WORKER, SURE),
    Case("host all /op$ all md5", WORKER, MAYBE),
    Case("host all /^(a|b)$ all md5", WORKER, NO),
    # Python reads these in another way than PostgreSQL, or not at all.
    Case(r"host all /\yx\y all md5", WORKER, MAYBE),
    Case("host all /[[:digit:]] all md5", WORKER, MAYBE),
    Case("host all /(?i)X all md5", WORKER, MAYBE),
    Case("host all /*** all md5", WORKER, MAYBE),
    # Addresses
    Case("host all all 10.0.0.5/32 md5", WORKER, SURE),
    Case("host all all 10.0.0.4/30 md5", WORKER, SURE),
    Case("host all all 10.0.0.8/29 md5", WORKER, NO),
    Case("host all all 0.0.0.0/0 md5", WORKER, SURE),
    Case("host all all ::/0 md5", WORKER, NO),
    Case("host all all ::/0 md5", SIX, SURE),
    Case("host all all 0.0.0.0/0 md5", SIX, NO),
    Case("host all all fd00::/16 md5", SIX, SURE),
    Case("host all all fd00:1::/32 md5", SIX, NO),
    Case("host all all ::ffff:10.0.0.5/128 md5", WORKER, NO),
    Case("host all all 10.0.0.5/32 md5", entry("10.0.0.0/24"), MAYBE),
    Case("host all all 10.0.1.0/24 md5", entry("10.0.0.0/24"), NO),
    # The server ignores host bits, and takes any mask.
    Case("host all all 10.0.0.77 255.255.255.0 md5", WORKER, SURE),
    Case("host all all 10.9.9.5 255.0.0.255 md5", WORKER, SURE),
    Case("host all all 10.9.9.6 255.0.0.255 md5", WORKER, NO),
    Case("host all all 10.9.9.5 255.0.0.255 md5", entry("10.0.0.0/24"), MAYBE),
    Case("host all all samehost md5", WORKER, MAYBE),
    Case("host all all samenet md5", WORKER, MAYBE),
    # Who has a name is told by the server's resolver; of two names a client has one.
    Case("host all all w1.example.com md5", WORKER, MAYBE),
    Case("host all all .example.com md5", WORKER, MAYBE),
    Case("host all all 10.0.0.0/8 md5", NAMED, MAYBE),
    Case("host all all W1.Example.com md5", NAMED, SURE),
    Case("host all all .example.com md5", NAMED, SURE),
    Case("host all all .example.org md5", NAMED, NO),
    Case("host all all w2.example.com md5", NAMED, NO),
    Case("host all all all md5", NAMED, SURE),
    Case("host all all 10.0.0.0/8 md5", entry("all"), MAYBE),
    Case("host all all w1.example.com md5", entry("all"), MAYBE),
    # What the server can print and Python cannot read.
    Case("host all all fe80::1%eth0 ffff:: md5", SIX, MAYBE),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.entry.address}")
def test_whether_a_rule_decides(case: Case) -> None:
    found = rule("host all all all md5") if "%" in case.rule else rule(case.rule)
    if "%" in case.rule:
        found = Rule(**{**vars(found), "address": "fe80::1%eth0", "netmask": "???"})
    assert match(found, case.entry, case.entry.databases[0], case.entry.users[0]) is case.match


def test_groups_that_are_known() -> None:
    groups = {"shop": {"shop", "staff"}, "shop_owner": {"shop_owner", "shop"}}
    for text, user, sure in [
        ("host all +staff all md5", "shop", SURE),
        ("host all +guests all md5", "shop", NO),
        ("host all +staff all md5", "about_to_be_made", NO),
        ("host samerole all all md5", "shop_owner", SURE),
        ("host samerole all all md5", "other", NO),
    ]:
        assert match(rule(text), entry(user=user), "shop", user, groups) is sure


def test_a_rule_with_an_error_decides_nothing() -> None:
    broken = rule("hostssl all all all md5", error="hostssl record cannot match because SSL is disabled")
    assert match(broken, WORKER, "shop", "shop") is NO


# The place


@pytest.mark.parametrize(
    ("text", "entries", "line"),
    [
        ("local all all peer\n\nhost all all 127.0.0.1/32 md5\n", [WORKER, SIX], None),
        ("local all all peer\nhost all all all reject\n", [WORKER], 2),
        ("host crm all all md5\n# x\nhost all all 10.0.0.0/8 md5\nhost all all all reject\n", [WORKER], 3),
        # The first that catches any of them.
        ("host all all fd00::/64 md5\nhost all all 10.0.0.0/8 md5\n", [WORKER, SIX], 1),
        ("host all +staff all md5\n", [WORKER], 1),
        ("host all all samenet md5\n", [WORKER], 1),
        ("host all all h.example.com md5\n", [WORKER], 1),
        # A pooler comes through the socket.
        ("host all all all reject\nlocal all postgres peer\nlocal all all peer\n", [LOCAL], 3),
        # What lets in whom the block rejects has to stand below it; what rejects them as well may stay above.
        ("host all all 192.168.0.0/16 md5\nhost all all 10.0.0.0/8 md5\n", [WORKER, REJECT], 1),
        ("host all all 192.168.0.0/16 md5\nhost all all 10.0.0.0/8 md5\n", [WORKER], 2),
        ("host all all 192.168.0.0/16 reject\nhost all all 10.0.0.0/8 md5\n", [WORKER, REJECT], 2),
        ("host all all all md5\n", [REJECT], 1),
        ("host all all all md5\n", [], None),
    ],
)
def test_the_line_that_catches(text: str, entries: list[Entry], line: int | None) -> None:
    assert catching_line(text, rules_of(text), entries, MAIN) == line


@pytest.mark.parametrize("version", VERSIONS)
def test_the_line_that_catches_in_recorded_files(version: str) -> None:
    text, rules = recorded(version)
    catch_all = text.split("\n").index("host all all all reject") + 1
    # Host names and samenet in front may catch others, but none is for this database and role.
    expected = {"15": catch_all, "17": catch_all - 2}[version]
    assert catching_line(text, rules, [entry()], MAIN) == expected
    assert catching_line(text, rules, [SIX], MAIN) == catch_all
    assert catching_line(text, rules, [entry(database="wiki", user="wiki")], MAIN) == 23 + 2 * (version == "17")
    assert catching_line(text, rules, [entry("fd00:1::9/128")], MAIN) == 19
    assert catching_line(text, rules, [LOCAL], MAIN) == 8
    assert catching_line(text, rules, [entry(user="postgres", kind="local")], MAIN) == 5
    if version == "17":
        # Of the two lines that include between rules 22 and 25, the first: the other's place would do as well.
        assert catching_line(text, rules, [entry("10.4.0.9/32", "team_a", "team_a")], MAIN) == 23
        assert catching_line(text, rules, [entry(user="intruder", address="10.0.0.7/32")], MAIN) == 28


def test_the_block_above_an_include_in_the_recorded_file() -> None:
    text, rules = recorded("17")
    lines = with_block(text, "shop", [entry()], catching_line(text, rules, [entry()], MAIN)).split("\n")
    at = lines.index("# BEGIN taskfleet.celery_cluster shop")
    assert lines[at - 1].startswith("host all /^intruder")
    assert lines[at + 5 : at + 9] == ["# everything else", "include \\", ' "catch all.conf"', "host all all all reject"]


def test_an_include_at_the_ends_of_the_file() -> None:
    text = "# all is elsewhere\ninclude a.conf\n"
    assert catching_line(text, [rule("host all all all md5", 7, "/a.conf")], [WORKER], MAIN) == 2
    text = "include a.conf\nlocal all all peer\ninclude b.conf\n"
    rules = [
        rule("local all all peer", 3, "/a.conf"),
        rule("local all all peer", 2),
        rule("host all all all md5", 1, "/b.conf"),
    ]
    assert catching_line(text, rules, [WORKER], MAIN) == 3
    assert catching_line(text, rules, [LOCAL], MAIN) == 1


def test_an_include_that_is_not_in_the_text() -> None:
    text = "local all all peer\n# include a.conf\n"
    rules = [rule("local all all peer", 1), rule("host all all all md5", 7, "/a.conf")]
    with pytest.raises(HbaError, match=r"/a.conf line 7 \(host all all all md5\).*run again"):
        catching_line(text, rules, [WORKER], MAIN)
    # Nor is it where the server applies it.
    with pytest.raises(HbaError, match="includes another file"):
        catching_line("a\nb\ninclude c\n", [*rules, rule("local all all peer", 2)], [WORKER], MAIN)


# What is told


def test_faults() -> None:
    off = "hostssl record cannot match because SSL is disabled"
    gss = "hostgssenc record cannot match because GSSAPI is not supported by this build"
    rules = read_rules(
        [
            row(1, 1, type="local", database=["all"], user_name=["all"], auth_method="peer"),
            row(0, 2, rule_number=None, error='invalid authentication method "md6"'),
            row(0, 3, rule_number=None, type="hostgssenc", error=gss),
            row(0, 4, rule_number=None, type="hostssl", error=off),
            row(0, 5, rule_number=None, type="hostssl", error=off),
        ],
        MAIN,
    )
    method, ssl = faults(rules)
    assert method.startswith(f'{MAIN} line 2: invalid authentication method "md6"; correct the line')
    assert ssl == f"{MAIN} line 4: {off}; set 'ssl = on' and give the server a certificate"
    # Without GSSAPI the server loads the file all the same.
    assert faults([rules[0], rules[2]]) == []
    assert faults(recorded("15")[1]) == faults(recorded("17")[1]) == []


@pytest.mark.parametrize("method", ["trust", "cert", "gss", "sspi", "ldap", "radius", "pam", "bsd", "ident", "oauth"])
def test_clients_that_would_be_refused(method: str) -> None:
    rules = [rule("host crm all all md5", 3), rule(f"hostssl shop all 10.0.0.0/8 {method}", 4)]
    entries = [entry(), entry("10.0.0.6/32"), entry("192.168.0.1/32"), entry("10.0.0.6/32"), REJECT]
    (told,) = taken_over(rules, entries, {"shop"})
    assert told.startswith(f"{MAIN} line 4 (hostssl shop all 10.0.0.0/8 {method}) lets the role shop in from")
    assert "from 10.0.0.5/32, 10.0.0.6/32;" in told
    assert "the role's password" in told and "celery_database_user" in told
    # Our own roles have nobody to be refused.
    assert taken_over(rules, entries, {"crm"}) == taken_over(rules, entries, set()) == []


@pytest.mark.parametrize("method", ["md5", "password", SCRAM, "reject"])
def test_clients_that_get_in_as_before(method: str) -> None:
    assert taken_over([rule(f"host all all all {method}")], [entry()], {"shop"}) == []


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("hostssl all all all cert clientcert=verify-full", True),
        ("hostssl all all all cert map=names clientcert=verify-full", False),
        ("hostssl all all all reject", True),
        ("hostssl all all all scram-sha-256", False),
        ("hostssl all all all trust", False),
    ],
)
def test_clients_that_bring_a_certificate(line: str, fine: bool) -> None:
    told = taken_over([rule(line)], [entry(method="cert")], {"shop"})
    assert told == [] if fine else "a client certificate of the role" in told[0]


def test_peers_of_a_foreign_role() -> None:
    (told,) = taken_over([rule("local all all peer", 8)], [LOCAL], {"shop"})
    assert f"{MAIN} line 8 (local all all peer) lets the role shop in from the local socket" in told


def test_only_rules_that_decide_are_told() -> None:
    trust = rule("host all all 10.0.0.0/8 trust", 9)
    # Another decides before it.
    assert taken_over([rule("host shop shop all md5", 1), trust], [entry()], {"shop"}) == []
    assert taken_over([rule("host all all all reject", 1), trust], [entry()], {"shop"}) == []
    # One that may decide, and the one that else does.
    maybe = rule("host all +staff all ldap", 1)
    first, second = taken_over([maybe, trust, maybe], [entry()], {"shop"})
    assert "(host all +staff all ldap) may let the role shop in" in first
    assert "(host all all 10.0.0.0/8 trust) lets the role shop in" in second
    assert len(taken_over([maybe, trust], [entry()], {"shop"}, {"shop": set()})) == 1
    (told,) = taken_over([maybe, trust], [entry()], {"shop"}, {"shop": {"staff"}})
    assert "+staff all ldap) lets" in told


def test_secrets_of_a_rule_are_not_told() -> None:
    ldap = next(found for found in recorded("15")[1] if "ldapbindpasswd" in str(found))
    assert "topsecret" in ldap.options[3]
    (told,) = taken_over([ldap], [entry("10.3.0.1/32", database="crm")], {"shop"})
    assert "ldapbinddn=cn=pg ldapbindpasswd=... ldapscope=2" in told
    radius = rule("host all all all radius radiussecrets=topsecret radiusservers=r")
    for text in (told, repr(ldap), str(radius), *differences([ldap, radius], [], [])):
        assert "topsecret" not in text


def test_notes_of_rejected_hosts() -> None:
    rules = [
        rule("host all all 10.0.0.7/32 reject", 12),
        rule("host all all fd00::7/128 reject", 13),
        rule("host all all w1.example.com reject", 14),
        rule("host all all 10.0.0.0/24 reject", 15),
        rule("host crm all 10.0.0.7/32 reject", 16),
        rule("host all all .example.com reject", 17),
        rule("host all all samenet reject", 18),
        rule("host all all 10.0.0.7/32 md5", 19),
        rule("host all all all reject", 20),
    ]
    told = notes(rules, [entry("10.0.0.7/32"), entry("10.0.0.7/32", "shop_owner", comment="app1"), REJECT])
    because = "; the cluster's line stands before it because the inventory lists it as a client (w1, app1)"
    assert told == [
        f"{MAIN} line 12 (host all all 10.0.0.7/32 reject) rejects 10.0.0.7{because}",
        f"{MAIN} line 14 (host all all w1.example.com reject) rejects w1.example.com{because}",
    ]
    assert notes(rules, [entry("10.0.0.8/32", comment="")])[0].endswith("lists it as a client (10.0.0.8/32)")
    assert notes(rules[:2], [entry("10.0.0.9/32")]) == []


def test_notes_of_certificates_no_longer_asked_for() -> None:
    rules = [
        rule("hostssl all all 10.0.0.0/8 md5 clientcert=verify-ca", 5),
        rule("hostssl all all all cert clientcert=verify-full", 6),
    ]
    (told,) = notes(rules, [entry(), entry("10.0.0.6/32", comment="w2", method="cert")])
    assert told.startswith(f"{MAIN} line 5 ") and "for w1: set celery_database_login" in told


def test_nobody_gets_in_above_the_line_that_rejects() -> None:
    """Only the server's own host, replication, other roles and rejections may stay above the block."""
    rules = [
        rule("local all all peer", 1),
        rule("host all all 127.0.0.0/8 md5", 2),
        rule("host all all ::1/128 md5", 3),
        rule("host crm all samehost md5", 4),
        rule("host replication all 192.168.0.0/16 md5", 5),
        rule("host all admin,+staff 192.168.0.0/16 md5", 6),
        rule("host all all 192.168.9.0/24 reject", 7),
        rule("host all all 192.168.0.0/16 md5", 8),
        rule("hostnossl crm shop_owner 172.16.0.0/12 trust", 9),
        rule("host all shop fd00::1/128 md5", 10),
        rule("host all all 10.0.0.0/8 md5", 11),
        rule("host all all 172.16.0.0/12 md5", 12),
    ]
    for number in range(5, 12):
        assert catching_line("", rules[:5] + rules[number:], [REJECT], MAIN) == (
            8 if number in (6, 7) else rules[number].line
        )


# What the server made of it


def test_as_meant() -> None:
    before = [rule("local all all peer", 1), rule("host all all all reject", 2)]
    entries = [
        entry(),
        entry("FD00:0::5/128", method="cert"),
        entry("app1.example.com"),
        entry("10.0.0.77/24"),
        entry(kind="local"),
        REJECT,
    ]
    ours = [
        rule("hostssl shop shop 10.0.0.5/32 scram-sha-256", 3),
        rule("hostssl shop shop fd00::5/128 cert clientcert=verify-full", 5),
        rule("hostssl shop shop app1.example.com scram-sha-256", 7),
        rule("hostssl shop shop 10.0.0.77 255.255.255.0 scram-sha-256", 8),
        rule("local shop shop scram-sha-256", 9),
        rule("host all shop,shop_owner all reject", 10),
    ]
    after = [rule("local all all peer", 2), *ours, rule("host all all all reject", 12)]
    assert differences(before, after, entries) == []
    assert differences(before, before, []) == []
    # A rule that is like one of ours stays somebody's.
    twice = [before[0], ours[0], before[1]]
    assert differences(twice, [before[0], ours[0], ours[0], before[1]], [entry()]) == []
    assert differences([ours[0], before[0]], [ours[0], before[0], ours[0]], [entry()]) == []
    assert differences(twice, twice, [entry()]) == [f"no longer in its place: {ours[0]} (was {ours[0].where})"]


@pytest.mark.parametrize(
    "line",
    [
        "host shop shop 10.0.0.5/32 scram-sha-256",
        "hostssl shop,crm shop 10.0.0.5/32 scram-sha-256",
        "hostssl shop shop,crm 10.0.0.5/32 scram-sha-256",
        "hostssl shop shop 10.0.0.4/31 scram-sha-256",
        "hostssl shop shop 10.0.0.6/32 scram-sha-256",
        "hostssl shop shop ::ffff:10.0.0.5/128 scram-sha-256",
        "hostssl shop shop w1.example.com scram-sha-256",
        "hostssl shop shop all scram-sha-256",
        "hostssl shop shop 10.0.0.5/32 md5",
        "hostssl shop shop 10.0.0.5/32 scram-sha-256 clientcert=verify-full",
    ],
)
def test_a_line_of_ours_that_means_something_else(line: str) -> None:
    before = [rule("host all all all reject", 2)]
    told = differences(before, [rule(line, 1), *before], [entry()])
    assert told == [
        "not read by the server as meant: hostssl shop shop 10.0.0.5/32 scram-sha-256",
        f"not there before: {rule(line)} ({MAIN} line 1)",
    ]


def test_a_line_of_ours_that_the_server_does_not_apply() -> None:
    broken = rule("hostssl shop shop 10.0.0.5/32 scram-sha-256", error="SSL is disabled")
    assert differences([], [broken], [entry()])[0].startswith("not read by the server as meant")
    # Of a line that the server cannot parse it tells nothing but why.
    (unread,) = read_rules([row(0, 7, rule_number=None, error="invalid IP mask")], MAIN)
    assert differences([], [unread], []) == [f"not there before: invalid IP mask ({MAIN} line 7)"]


def test_rules_of_others_that_changed() -> None:
    a, b, c = (rule(f"host {name} all all md5", number) for number, name in enumerate("abc", 1))
    ours = rule("hostssl shop shop 10.0.0.5/32 scram-sha-256", 9)
    ours2 = rule("hostssl shop shop 10.0.0.6/32 scram-sha-256", 9)
    entries = [entry()]
    assert differences([a, b, c], [a, ours, c], entries) == [f"no longer in its place: {b} (was {MAIN} line 2)"]
    assert differences([a, c], [a, ours, b, c], entries) == [f"not there before: {b} ({MAIN} line 2)"]
    swapped = differences([a, b], [b, a, ours], entries)
    assert len(swapped) == 2 and {told.split(":")[0] for told in swapped} == {
        "no longer in its place",
        "not there before",
    }
    options = rule("host a all all md5 clientcert=verify-ca", 1)
    assert len(differences([a, b], [options, b, ours], entries)) == 2
    # Ours stand apart, or in another order.
    pair = [*entries, entry("10.0.0.6/32")]
    for after in ([ours, a, ours2], [a, ours2, ours]):
        assert differences([a], after, pair) == ["the lines of the cluster do not stand together in their order"]
    assert differences([a], [a], pair[:1]) == [f"not read by the server as meant: {pair[0].line()}"]


# The whole of it, against a reading of first match wins that knows nothing of the code above.

NETWORKS = [
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.5/32",
    "10.0.0.6/32",
    "192.168.0.0/16",
    "0.0.0.0/0",
    "::/0",
    "fd00::/64",
    "all",
]
HOSTS = ["10.0.0.5", "10.0.0.6", "10.1.0.5", "192.168.0.5", "fd00::5", "fe80::1"]
host_lines = st.builds(
    " ".join,
    st.tuples(
        st.sampled_from(["host", "hostssl", "hostnossl"]),
        st.sampled_from(["all", "shop", "crm", "crm,shop", "sameuser", "replication"]),
        st.sampled_from(["all", "shop", "shop_owner", "crm", "shop,crm"]),
        st.sampled_from(NETWORKS),
        st.sampled_from([SCRAM, "md5", "trust", "reject"]),
    ),
)
lines = st.lists(host_lines | st.sampled_from(["", "# note", "local all all peer", "# BEGIN M", "# END M"]), max_size=9)
our_entries = st.lists(
    st.builds(entry, st.sampled_from(["10.0.0.5/32", "10.0.0.6/32", "192.168.0.5/32", "fd00::5/128"]), st.just("shop")),
    min_size=1,
    max_size=3,
)


def decides(text: str, database: str, user: str, host: str, tls: bool) -> tuple[str, str]:
    """The line and the method by which a server would let a connection in."""
    for line in text.split("\n"):
        if not line.startswith("host"):
            continue
        kind, databases, users, address, method = line.split()
        names = databases.split(",")
        if kind == ("hostnossl" if tls else "hostssl"):
            continue
        if not ({"all", database} & set(names) or ("sameuser" in names and database == user)):
            continue
        if not {"all", user} & set(users.split(",")):
            continue
        if address == "all" or ipaddress.ip_address(host) in ipaddress.ip_network(address):
            return line, method
    return "", "reject"


@given(lines, our_entries, st.booleans())
def test_ours_decide_on_ours_and_nothing_else_changes(written: list[str], wanted: list[Entry], rejects: bool) -> None:
    text = "\n".join(written)
    entries = [*wanted, Entry("rest", "host", ("all",), ("shop",), "all", "reject")] if rejects else wanted
    rules = rules_of(text)
    line = catching_line(text, rules, entries, MAIN)
    after = with_block(text, "shop", entries, line)
    told = taken_over(rules, entries, {"shop"})
    open_lines = [found for found in notes(rules, entries) if "still lets in" in found]
    for database in ("shop", "crm"):
        for user in ("shop", "shop_owner", "crm"):
            for host in HOSTS:
                for tls in (True, False):
                    was, how = decides(text, database, user, host, tls)
                    is_now, now = decides(after, database, user, host, tls)
                    ours = [each for each in wanted if each.address.split("/")[0] == host]
                    if (database, user, tls) == ("shop", "shop", True) and ours:
                        assert is_now == ours[0].line()
                        assert (how == "trust") == any(f"({was})" in each and ours[0].address in each for each in told)
                    elif user == "shop" and rejects:
                        assert now == "reject" or (is_now == was and any(f"({was})" in each for each in open_lines))
                    else:
                        assert (is_now, now) == (was, how)
    assert without_block(after, "shop") == text
    found = others(rules_of(after), after, "shop", MAIN)
    assert [each.line for each in found] == [each.line for each in rules]
    assert differences(rules, rules_of(after), entries) == []
    assert catching_line(text, found, entries, MAIN) == line
