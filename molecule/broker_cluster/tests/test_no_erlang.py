"""A run with nothing to change starts no Erlang VM on any broker: each costs a second of processor time."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cluster import BROKERS

LOG = "/run/erlang-starts"
# Every start of Erlang, by whatever name, ends in this program; the VM that runs already has its own copy open.
FIND = "readlink -e /usr/lib/erlang/erts-*/bin/beam.smp"
WRAPPER = """#!/bin/sh
echo "$*" >>{log}
exec {vm}.wrapped "$@"
"""


@pytest.fixture
def starts(on) -> Iterator[dict[str, int]]:
    """starts[broker]() counts the Erlang VMs that were started since the test began."""
    places = {}
    for name in BROKERS:
        found = on(name).run(FIND)
        assert found.rc == 0 and len(found.stdout.split()) == 1, found.stdout + found.stderr
        places[name] = found.stdout.strip()
    try:
        for name, vm in places.items():
            done = on(name).run(
                "install -m 0666 /dev/null %s && printf %%s %s >%s.new && chmod 0755 %s.new && mv %s %s.wrapped "
                "&& mv %s.new %s",
                LOG,
                WRAPPER.format(log=LOG, vm=vm),
                *[vm] * 6,
            )
            assert done.rc == 0, done.stderr
        yield {name: (lambda name=name: len(on(name).file(LOG).content_string.splitlines())) for name in BROKERS}
    finally:
        for name, vm in places.items():
            on(name).run("test ! -e %s.wrapped || mv %s.wrapped %s; rm -f %s", vm, vm, vm, LOG)


@pytest.mark.long
def test_a_run_with_nothing_to_change_starts_none(on, succeed, starts, cluster):
    running = cluster.broker_processes()
    # First that the count counts: this command asks the broker, so it cannot do without a VM of its own.
    for name in BROKERS:
        assert on(name).run("rabbitmq-diagnostics -q ping").rc == 0
    before = {name: count() for name, count in starts.items()}
    assert all(before.values()), before

    output = succeed("--tags", "rabbitmq,verify")
    recap = dict(re.findall(r"^(\S+)\s+:.*\bchanged=(\d+)", output, re.MULTILINE))
    assert {name: recap[name] for name in BROKERS} == dict.fromkeys(BROKERS, "0"), recap
    assert {name: count() for name, count in starts.items()} == before
    assert cluster.broker_processes() == running
