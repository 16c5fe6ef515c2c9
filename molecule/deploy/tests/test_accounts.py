"""At the end: every task that was sent against every row of the ledger."""

from __future__ import annotations

from accounts import judge, numbers, table
from testing import PROJECT, wait_for

FIGURES = PROJECT / ".cache" / "logs" / "deploy.figures"
# The last long tasks, those that were killed on the way, and the delays of ETA and retry.
PATIENCE = 240.0


def test_nothing_was_lost(stream, ledger, broker, watch, faults, seconds, capsys):
    stream.goes_on()
    stream.stop()
    log = stream.log()
    wait_for(lambda: not judge(ledger.starts(), log, faults).lost, PATIENCE, every=5)
    # 0 in the statistics may be 5 s old; what is delivered twice is given the time to be executed twice.
    assert wait_for(lambda: not any(broker.waiting().values()), 60), broker.waiting()
    account = judge(ledger.starts(), log, faults)
    figures = {
        **numbers(account),
        "kills, freezes and reboots": len(faults),
        "moments in which consumers were counted": watch.moments,
        "moments with a queue without a consumer": len(watch.gaps),
        "moments in which the broker did not answer": watch.unanswered,
    }
    told = table(figures, seconds)
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(told)
    with capsys.disabled():
        print(f"\n{told}")
    assert log.ended and log.tried == log.confirmed, "the traffic did not end as it should"
    assert account.faults() == []
    assert watch.gaps == []
    # It was worth the name: several hundred tasks in a minute, and every fault of the tests.
    assert all(figures[f"sent: {kind}"] >= 30 for kind in ("long", "eta", "chain", "retry"))
    assert len(faults) == 5
