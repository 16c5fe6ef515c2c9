"""The stream of tasks that everything here happens under."""

from __future__ import annotations

import time
from functools import reduce
from operator import or_

from accounts import Log, Start, read_log
from deployment import CORE, KINDS, NAME, PATIENCE, RUN, WORKERS, Ledger, on
from testing import host, query, wait_for

UNIT = f"{NAME}-traffic"
LOG = f"/var/lib/{NAME}/traffic.log"
# Three long tasks at a time: also a single host has room for them, and for the rest.
OPTIONS = "--app celery_agent:app --rate 6 --every 5 --long-every 20 --long-seconds 60"
# Less than the workers have to finish their tasks (seconds).
FOREVER = 1700
# Numbers that the stream never reaches.
FIRST = 1_000_000


class Traffic:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.logs = [LOG]

    def start(self) -> None:
        # Its end waits until the task at hand is confirmed.
        options = f"--quiet --unit={UNIT} --property=TimeoutStopSec=120"
        on(CORE, f"systemd-run {options} {RUN} python -m ledger.traffic {OPTIONS} --log {LOG}")

    def is_running(self) -> bool:
        return host(CORE).run(f"systemctl is-active {UNIT}").stdout.strip() == "active"

    def confirmed(self) -> int:
        return int(host(CORE).run(f"grep -c ^ok {LOG}").stdout.strip() or 0)

    def goes_on(self) -> None:
        """Fails when nothing new is sent, or one of the kinds of workers begins nothing new."""
        assert self.is_running(), on(CORE, f"journalctl --no-pager -n 50 -u {UNIT}")
        since, before = time.time(), self.confirmed()
        assert wait_for(lambda: self.confirmed() > before, PATIENCE), "the traffic sends nothing any more"

        def kinds() -> set[str]:
            return {kind for _host, kind in self.ledger.nodes_since(since)}

        assert wait_for(lambda: kinds() == set(KINDS), PATIENCE), f"only {kinds()} began tasks"

    def send_long(self, count: int) -> str:
        """More long tasks, on every worker node, and when they have begun the condition that finds their rows.

        They last until let_go: however slow the machine is, they run when the playbook ends.
        """
        number = FIRST * len(self.logs)
        log = f"/var/lib/{NAME}/long-{number}.log"
        options = f"--app celery_agent:app --only long --rate 20 --count {count} --first {number}"
        on(CORE, f"{RUN} python -m ledger.traffic {options} --gated --long-seconds {FOREVER} --log {log}")
        self.logs.append(log)
        where = f"kind = 'long' AND number >= {number} AND number < {number + count}"

        def began() -> list[Start]:
            return self.ledger.starts(where)

        assert wait_for(lambda: len(began()) == count, PATIENCE), f"only {len(began())} of {count} long tasks began"
        hosts = {start.host for start in began()}
        assert hosts == set(WORKERS), f"the long tasks are all on {hosts}"
        return where

    def let_go(self, where: str) -> None:
        """The long tasks of this condition may end."""
        gates = f"SELECT DISTINCT number FROM ledger_tasks WHERE {where}"
        query(NAME, f"INSERT INTO ledger_gates {gates} ON CONFLICT DO NOTHING", CORE)

    def stop(self) -> None:
        on(CORE, f"systemctl stop {UNIT}")

    def log(self) -> Log:
        return reduce(or_, (read_log(on(CORE, f"cat {log}")) for log in self.logs))
