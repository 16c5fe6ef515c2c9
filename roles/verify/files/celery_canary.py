# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, The taskfleet developers
"""Send the canary through every queue until every worker that should serve it has answered.

Run with the interpreter and the environment of a release, on a host that submits tasks:

    echo '{"expect": [{"queue": "mail", "worker": "default", "host": "worker1"}], "deadline": 60, "expires": 120}' |
        venv/bin/python celery_canary.py

Of each expectation `node` and `release` are compared when they are given; `"asked": false` makes it a consumer that
may answer and need not. With `"overlap": true` the workers of another release may answer as well, and are not looked
at: the expected ones prove themselves beside them.

It looks `rounds` times, `interval` seconds apart, with `max` canaries each time at most. When these are too few to
reach every consumer, each queue gets its share, and whoever answers is proved. `record` names the file that keeps the
last result of every consumer. `"forget": true` takes the canaries out of the result backend. `name` is the cluster's.

One JSON document is written. `rows`: one result per expectation, one per host that answered though nobody expected
it, and one per round that lost a canary. `task_ids`: the canaries that came back; `sent_ids`: all. `answers`: who
answered in which round. `rounds`: what each sent and lost. `notes`: what to tell besides.
Exit code 0 means that the document was written, not that the rows are good. The syntax is that of Python 3.6, as for
the agent.
"""

import collections
import json
import os
import re
import statistics
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

POLL_FIRST = 0.1
POLL_LAST = 1.0
# Nothing but errors for so long, and the rest of the deadline would not help either.
GIVE_UP_AFTER = 10.0
# A consumer that answered wrongly so often will not answer rightly.
WRONG_ENOUGH = 3
# Messages still under way when all is known: they may reveal a consumer that nobody expects.
LINGER = 3.0
# Canaries that are under way for so long may not come back: they keep others from being sent no longer.
OVERDUE = 5.0
# An answer that comes this long after its canary expired was given in time by a slower clock.
GRACE = 2.0
# What has been wrong since then will not get better.
NEVER = float("-inf")

TIMES = "\N{MULTIPLICATION SIGN}"


class Expectation:
    """One consumer: a kind of worker on a host, serving a queue."""

    def __init__(self, given):
        self.queue = given["queue"]
        self.worker = given.get("worker") or ""
        self.host = given["host"]
        self.node = given.get("node")
        self.release = given.get("release")
        self.asked = given.get("asked", True)
        self.outcomes = []  # of the rounds that are over: (ok, seconds, detail); None where it was not asked
        self.begin()

    def begin(self):
        self.ok = False
        self.wrong = collections.Counter()
        self.seconds = None
        self.task_id = None

    @property
    def key(self):
        return self.worker, self.host

    @property
    def settled(self):
        return self.ok or not self.asked or sum(self.wrong.values()) >= WRONG_ENOUGH


class Lane:
    """A queue with the consumers expected on it and the messages under way."""

    def __init__(self, queue, expectations):
        self.queue = queue
        self.expectations = expectations
        self.limit = 0  # how many canaries may be under way
        self.sample = 0  # not 0: so many canaries and no more, and whoever answers is proved
        self.counted = False  # the broker counts every expected consumer, and nobody else's
        self.routing_keys = {queue}
        self.unexpected = {}  # (worker, host) -> (task id, seconds)
        self.error = ""
        self.trouble_since = None
        self.begin()

    def begin(self):
        self.in_flight = {}  # task id -> (nonce, time it was sent)
        self.sent = 0
        self.answered = collections.Counter()
        self.failures = collections.Counter()
        self.advice = None
        if self.trouble_since != NEVER:
            self.trouble_since = None
        for expectation in self.expectations:
            expectation.begin()

    @property
    def settled(self):
        if self.sample:
            return self.sent >= self.sample and not self.in_flight
        return all(expectation.settled for expectation in self.expectations)

    @property
    def room(self):
        """How many canaries may be sent now."""
        if self.sample:
            return self.sample - self.sent
        missing = sum(not expectation.settled for expectation in self.expectations)
        latest = max((sent for _nonce, sent in self.in_flight.values()), default=NEVER)
        # While those under way can still prove all that are missing, more of them would only use up the bound.
        if self.sent >= self.limit and len(self.in_flight) >= missing and time.monotonic() - latest < OVERDUE:
            return 0
        return self.limit - len(self.in_flight)

    def end_as_sample(self):
        """The bound is used up: who is there and has held no canary was not asked. Who keeps one is still a failure."""
        if self.counted and self.room > 0:
            self.sample = self.sent

    def failed(self, error, now):
        self.error = error
        if self.trouble_since is None:
            self.trouble_since = now

    def worked(self):
        self.error = ""
        self.trouble_since = None

    def hopeless(self, now):
        return self.trouble_since is not None and now - self.trouble_since > GIVE_UP_AFTER


def passwords():
    """The secrets an error message might repeat."""
    found = set()
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
        for url in os.environ.get(name, "").split(";"):
            try:
                quoted = urlsplit(url.strip()).password
            except ValueError:
                continue
            if quoted:
                found.update((quoted, unquote(quoted)))
    return sorted(found, key=len, reverse=True)


def readable(error):
    """One line about an exception, without secrets."""
    message = " ".join(str(error).split()) or "no message"
    for secret in passwords():
        message = message.replace(secret, "***")
    message = re.sub(r"(\w+://[^:/@\s]*):[^@\s]+@", r"\1:***@", message)
    return f"{type(error).__name__}: {message}"[:500]


def keep_connections(backend):
    """Look at many results over one login.

    Celery's database backend logs in for every single look, unless its process is a fork (SessionManager.get_engine).
    Until 5.6 the manager is a default argument.
    """
    session = getattr(type(backend), "ResultSession", None)
    for manager in (getattr(backend, "session_manager", None), *(getattr(session, "__defaults__", None) or ())):
        if hasattr(manager, "forked"):
            manager.forked = True
            # A connection that the database has closed meanwhile is noticed before it is used.
            backend.engine_options.setdefault("pool_pre_ping", True)


def problem_of(lane, expectation, answer, nonce, agent, require_tls):
    """What is wrong with an answer of an expected consumer; empty when nothing is."""
    tls = answer.get("tls") or {}
    if answer.get("nonce") != nonce or answer.get("answer") != agent.canary_answer(nonce):
        return "answered with a wrong value"
    if expectation.node and answer.get("node") != expectation.node:
        return f"answered as node {answer.get('node')}, expected {expectation.node}"
    if expectation.release and answer.get("release") != expectation.release:
        return f"ran release {answer.get('release') or 'unknown'}, expected {expectation.release}"
    if answer.get("queue") not in lane.routing_keys:
        return f"received it through {answer.get('queue')}, not through {lane.queue}"
    if require_tls and not tls.get("verified"):
        return f"TLS not verified: {tls.get('why') or 'no reason given'}"
    return ""


def take_answer(lane, task_id, answer, agent, require_tls, now, overlap=False):
    """Book the value of one canary."""
    nonce, sent = lane.in_flight.pop(task_id)
    if not isinstance(answer, dict):
        lane.failures[f"a canary came back with {type(answer).__name__} instead of an answer"] += 1
        return
    key = (answer.get("worker") or "", answer.get("host") or "unknown")
    lane.answered[key] += 1
    for expectation in lane.expectations:
        if expectation.key != key or (overlap and answer.get("release") != expectation.release):
            continue
        problem = problem_of(lane, expectation, answer, nonce, agent, require_tls)
        if problem:
            expectation.wrong[problem] += 1
            if not expectation.ok:
                expectation.task_id = task_id
        elif not expectation.ok:
            expectation.ok, expectation.task_id, expectation.seconds = True, task_id, now - sent
        return
    if not overlap:
        lane.unexpected.setdefault(key, (task_id, now - sent))


class Canaries:
    """All lanes of one run."""

    def __init__(self, request):
        self.deadline = float(request.get("deadline", 60))
        self.expires = float(request.get("expires", 2 * self.deadline))
        self.require_tls = bool(request.get("require_tls", True))
        self.overlap = bool(request.get("overlap", False))
        self.rounds = int(request.get("rounds", 1))
        self.interval = float(request.get("interval", 0))
        self.most = int(request.get("max", 0))
        self.forget = bool(request.get("forget", False))
        self.record = request.get("record") or ""
        self.name = request.get("name") or ""
        expectations = [Expectation(given) for given in request["expect"]]
        self.known = {(one.queue, *one.key): one for one in expectations}
        asked = {one.queue for one in expectations if one.asked}
        queues = {}
        for one in expectations:
            if one.queue in asked:
                queues.setdefault(one.queue, []).append(one)
        self.lanes = [Lane(queue, found) for queue, found in queues.items()]
        if self.most and self.most < len(self.lanes):
            raise ValueError(f"max is {self.most}, and {len(self.lanes)} queues need one canary each")
        self.succeeded = []
        self.sent_ids = []
        self.answers = []
        self.looks = []  # what each round sent and lost
        self.late = {}  # task id -> (time it was sent, its round)
        self.notes = []
        self.fatal = ""
        self.app = None
        self.agent = None
        self.options = {}  # of every canary
        self.reached = False
        self.round = 0
        self.spent = 0

    @property
    def patience(self):
        """Seconds after which a run that has not ended never will."""
        rounds = self.rounds * (self.deadline + LINGER + self.interval)
        return rounds + GIVE_UP_AFTER + LINGER + (self.expires + GRACE if self.rounds > 1 else 0)

    def set_limits(self):
        """How many canaries reach all consumers of a queue: the broker shares it out in turn."""
        found = self.depths(self.lanes)
        for lane in self.lanes:
            lane.sample = 0
            expected = len(lane.expectations)
            _messages, consumers = found.get(lane.queue, (0, 0))
            # As many as there are consumers. Where the broker does not say it, or not all are there yet, twice as many
            # as are expected, and as many again for the release that is to be replaced.
            lane.limit = consumers if consumers >= expected else 2 * expected * (2 if self.overlap else 1)
            lane.counted = consumers == expected and not self.overlap
        self.share_out()

    def share_out(self):
        """When that is too much, each queue gets one canary, then each a second one, until none is left."""
        if not self.most or sum(lane.limit for lane in self.lanes) <= self.most:
            return
        left = self.most
        while left:
            for lane in self.lanes:
                if left and lane.sample < lane.limit:
                    lane.sample += 1
                    left -= 1

    def load(self):
        """Import the application; in the main thread, because some install signal handlers."""
        try:
            import celery_agent

            self.agent, self.app = celery_agent, celery_agent.app
            self.app.finalize()
        except BaseException as error:  # an application may call sys.exit()
            self.fatal = f"the application cannot be imported here: {readable(error)}"

    def prepare(self):
        from celery.app.routes import Router

        conf = self.app.conf
        # Errors must come back, within the deadline and not after the application's retries.
        conf.update(result_backend_always_retry=False)
        backend = self.app.backend
        backend.always_retry = False
        if type(backend).__name__ == "DisabledBackend":
            self.fatal = "no result backend is configured: set CELERY_RESULT_BACKEND"
            return
        keep_connections(backend)
        # Routes of the application that end in `*` would move the canary to another queue.
        self.router = Router(routes=(), queues=self.app.amqp.queues, create_missing=True, app=self.app)
        self.options = {"serializer": self.agent.accepted_serializer(conf), "ignore_result": False}
        if self.agent.is_amqp(conf):
            self.options["mandatory"] = True  # a queue that does not exist is an error instead of silence
        for lane in self.lanes:
            try:
                lane.routing_keys.add(self.app.amqp.queues[lane.queue].routing_key)
            except KeyError:
                lane.failed(f"the application knows no queue {lane.queue} and creates none", NEVER)

    def reach_broker(self):
        """One attempt and its error: publishing tries for ever on some versions of kombu."""
        with self.app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
        self.reached = True

    def send(self, lane):
        nonce = uuid.uuid4().hex
        started = time.monotonic()
        result = self.app.send_task(
            self.agent.CANARY,
            args=(nonce,),
            queue=lane.queue,
            router=self.router,
            expires=self.expires,
            expiration=self.expires,  # Celery 4 leaves this out: an unread message would stay in the queue for ever
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0.2},
            add_to_parent=False,
            **self.options,
        )
        lane.in_flight[result.id] = (nonce, started)
        lane.sent += 1
        self.spent += 1
        self.sent_ids.append(result.id)

    def fill(self, lane):
        """Top up, as long as the bound allows it."""
        try:
            if not self.reached:
                self.reach_broker()
            room = min(lane.room, self.most - self.spent) if self.most else lane.room
            while room > 0 and time.monotonic() < self.ends:
                self.send(lane)
                room -= 1
            if self.most and self.spent >= self.most:
                lane.end_as_sample()
        except Exception as error:
            self.reached = False
            lane.failed(f"the canary cannot be sent: {readable(error)}", time.monotonic())
            return False
        return True

    def collect(self, lane):
        try:
            for task_id in list(lane.in_flight):
                meta = self.app.backend.get_task_meta(task_id, cache=False)
                status = meta["status"]
                if status == "SUCCESS":
                    self.succeeded.append(task_id)
                    now = time.monotonic()
                    take_answer(lane, task_id, meta["result"], self.agent, self.require_tls, now, self.overlap)
                elif status in ("FAILURE", "REVOKED"):
                    del lane.in_flight[task_id]
                    lane.failures[f"a canary ended as {status}: {readable(meta['result'])}"] += 1
        except Exception as error:
            lane.failed(f"the result cannot be read: {readable(error)}", time.monotonic())
            return False
        return True

    def run(self):
        """Until everything is known, nothing can become known any more, or the deadline."""
        try:
            self.started = time.monotonic()
            self.ends = self.started + self.deadline
            while not self.try_to_prepare():
                time.sleep(POLL_LAST)
            if not self.fatal:
                self.soak()
        except Exception as error:
            self.fatal = readable(error)

    def try_to_prepare(self):
        try:
            self.prepare()
        except Exception as error:
            now = time.monotonic()
            if now - self.started < min(GIVE_UP_AFTER, self.deadline):
                return False
            self.fatal = f"the application's Celery cannot be used here: {readable(error)}"
        return True

    def soak(self):
        """All rounds; what one of them leaves under way is waited for while the next ones run."""
        for number in range(1, self.rounds + 1):
            if number > 1:
                self.wait(self.interval)
            self.round, self.spent = number, 0
            for lane in self.lanes:
                lane.begin()
            begun = time.monotonic()
            self.ends = begun + self.deadline
            self.set_limits()
            self.exchange()
            self.close(time.monotonic() - begun)
        if self.rounds > 1 and self.late:
            # Until the last of them expires, it may still be answered.
            self.wait(max(sent for sent, _look in self.late.values()) + self.expires + GRACE, until=True)
        if self.forget:
            self.forget_results()

    def exchange(self):
        pause = POLL_FIRST
        while time.monotonic() < self.ends:
            open_lanes = [lane for lane in self.lanes if not lane.settled and not lane.hopeless(time.monotonic())]
            if not open_lanes:
                break
            for lane in open_lanes:
                sent = self.fill(lane)
                if self.collect(lane) and sent:
                    lane.worked()
            time.sleep(pause)
            pause = min(pause * 1.3, POLL_LAST)
        linger = min(time.monotonic() + LINGER, self.ends)
        while any(lane.in_flight for lane in self.lanes if not lane.error) and time.monotonic() < linger:
            time.sleep(POLL_FIRST)
            for lane in self.lanes:
                if not lane.error:
                    self.collect(lane)

    def close(self, seconds):
        """Book what a round has shown."""
        look = {"round": self.round, "sent": self.spent, "answered": 0, "late": 0, "lost": 0}
        look["seconds"] = round(seconds, 3)
        for lane in self.lanes:
            look["answered"] += sum(lane.answered.values())
            look["lost"] += lane.sent - sum(lane.answered.values())
            for task_id, (_nonce, sent) in lane.in_flight.items():
                self.late[task_id] = (sent, look)
            for expectation in lane.expectations:
                expectation.outcomes.append(self.outcome(lane, expectation))
                if expectation.outcomes[-1] and expectation.seconds is not None:
                    self.answers.append(self.answer(expectation))
        self.looks.append(look)

    def outcome(self, lane, expectation):
        """(ok, seconds, detail) of a round, or None when nobody asked this consumer."""
        if not expectation.asked:
            return None
        if expectation.ok:
            return True, expectation.seconds, "answered"
        if lane.sample and not expectation.wrong:
            first = next(one for one in lane.expectations if one.asked and not one.ok)
            if expectation is not first or (lane.answered and not lane.in_flight and not lane.failures):
                return None
        return False, None, self.missing(lane, expectation)

    def answer(self, expectation):
        return {
            "queue": expectation.queue,
            "worker": expectation.worker,
            "host": expectation.host,
            "node": expectation.node,
            "release": expectation.release,
            "round": self.round,
            "seconds": round(expectation.seconds, 4),
        }

    def wait(self, seconds, until=False):
        """Collect what comes late. Seconds is a duration, or the moment until which something may come."""
        end = seconds if until else time.monotonic() + seconds
        while time.monotonic() < end and (self.late or not until):
            try:
                self.collect_late()
            except Exception as error:
                self.notes.append("late results cannot be read: " + readable(error))
                self.late.clear()
            time.sleep(max(0.0, min(POLL_LAST, end - time.monotonic())))

    def collect_late(self):
        for task_id, (_sent, look) in list(self.late.items()):
            status = self.app.backend.get_task_meta(task_id, cache=False)["status"]
            if status == "SUCCESS":
                self.succeeded.append(task_id)
                look["late"] += 1
                look["lost"] -= 1
            if status in ("SUCCESS", "FAILURE", "REVOKED"):
                del self.late[task_id]

    def forget_results(self):
        """Nothing of this run stays in the result backend, except what is still under way."""
        for task_id in self.sent_ids:
            if task_id in self.late:
                continue
            try:
                self.app.backend.forget(task_id)
            except Exception as error:
                self.notes.append("results stay in the result backend until they expire: " + readable(error))
                return

    def depths(self, lanes):
        """queue -> (messages, consumers) as the broker counts them. Whoever may enter the vhost may ask."""
        found = {}
        if "mandatory" not in self.options:
            return found
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                self.reached = True
                for lane in lanes:
                    try:
                        with connection.channel() as channel:
                            told = channel.queue_declare(queue=lane.queue, passive=True)
                        found[lane.queue] = (told.message_count, told.consumer_count)
                    except connection.channel_errors:
                        continue  # no such queue: what is known without it is told
        except Exception:
            return found  # no broker: the first canary tells why
        return found

    def advice_about(self, lane):
        """What to do about a queue from which nobody answers."""
        found = self.depths([lane]) if self.reached else {}
        if lane.queue not in found:
            return ""
        messages, consumers = found[lane.queue]
        if consumers:
            return (
                f"; the broker counts {consumers} consumers and {messages} messages: they work on older ones, and a "
                f"longer verify_deadline waits for that, or they are stuck: systemctl status '{self.unit('*', '*')}'"
            )
        asked = [one for one in lane.expectations if one.asked]
        starts = ", ".join(f"systemctl start {self.unit(one.worker, one.release)} on {one.host}" for one in asked)
        return f"; queue {lane.queue} has no consumer, and {messages} messages wait: {starts}"

    def unit(self, worker, release):
        # As the role worker names them.
        return f"{self.name or 'celery'}-worker-{worker or '*'}@{release or '*'}.service"

    def missing(self, lane, expectation):
        """Why an expected consumer is not proved."""
        if expectation.wrong:
            return "; ".join(f"{problem} ({TIMES}{count})" for problem, count in expectation.wrong.most_common(2))
        if self.fatal:
            return self.fatal
        if lane.error and not lane.answered:
            return lane.error
        others = ", ".join(
            f"{host} ({worker}) {TIMES}{count}" for (worker, host), count in sorted(lane.answered.items())
        )
        if lane.sample:
            detail = f"{len(lane.in_flight)} of {lane.sent} canaries did not come back within {self.deadline:g} s"
            detail += f"; answered: {others or 'nobody'}"
        else:
            detail = f"no answer from {expectation.host} within {self.deadline:g} s; answered: {others or 'nobody'}"
        for failure, count in lane.failures.most_common(2):
            detail += f"; {failure} ({TIMES}{count})"
        if lane.error:
            return detail + "; " + lane.error
        if lane.answered or lane.failures:
            return detail
        if lane.advice is None:
            lane.advice = self.advice_about(lane)
        return detail + lane.advice

    def report(self):
        rows, sampled = [], 0
        for lane in self.lanes:
            for expectation in lane.expectations:
                if not expectation.asked:
                    continue
                ok, seconds, detail = self.summary(lane, expectation)
                if ok is None:
                    sampled += 1
                    continue
                rows.append(
                    self.row(lane, expectation.worker, expectation.host, ok, detail, seconds, expectation.task_id)
                )
            for (worker, host), (task_id, seconds) in sorted(lane.unexpected.items()):
                detail = f"consumes {lane.queue} as {worker or 'unknown'}, but the inventory says nothing of it"
                rows.append(self.row(lane, worker, host, False, detail, seconds, task_id))
        notes = list(self.notes)
        if any(lane.sample and (sampled or lane.sample < lane.limit) for lane in self.lanes):
            notes.append(
                f"Sampled: {self.most} canaries per round (verify_canaries_max) do not reach every consumer. Each "
                f"queue got its share, and {sampled} consumers were not asked."
            )
        return {
            "rows": rows + self.soak_rows(),
            "task_ids": list(self.succeeded),
            "sent_ids": list(self.sent_ids),
            "answers": list(self.answers),
            "rounds": list(self.looks),
            "notes": notes,
        }

    def summary(self, lane, expectation):
        """(ok, seconds, detail) over all rounds; ok is None when a sample left this consumer out."""
        if self.fatal or not expectation.outcomes:
            return False, None, self.missing(lane, expectation)
        outcomes = [(number, outcome) for number, outcome in enumerate(expectation.outcomes, 1) if outcome]
        if not outcomes:
            return None, None, ""
        bad = [(number, outcome[2]) for number, outcome in outcomes if not outcome[0]]
        seconds = [outcome[1] for _number, outcome in outcomes if outcome[1] is not None]
        middle = statistics.median(seconds) if seconds else None
        if not bad:
            return True, middle, "answered" if self.rounds == 1 else f"answered in {len(outcomes)} rounds"
        number, detail = bad[0]
        if self.rounds > 1:
            detail = f"failed in {len(bad)} of {len(outcomes)} rounds; round {number}: {detail}"
        return False, middle, detail

    def soak_rows(self):
        """One per round of a soak that lost a canary. A single look does not wait for its last canary to expire."""
        if self.rounds == 1:
            return []
        here = os.environ.get("CELERY_AGENT_HOST", "")
        return [
            {
                "check": "soak",
                "from": here,
                "to": "",
                "name": f"round {look['round']} of {self.rounds}",
                "ok": False,
                "detail": f"{look['lost']} of {look['sent']} canaries never came back",
                "seconds": look["seconds"],
            }
            for look in self.looks
            if look["lost"]
        ]

    def write_record(self, rows):
        """The last result of every consumer, for whoever asks later when the cluster was last seen to work."""
        if not self.record or not self.lanes:
            return
        now = round(time.time(), 3)
        found = {}
        for row in rows:
            key = (row.get("queue"), row.get("worker"), row["to"])
            if row["check"] != "task" or key not in self.known:
                continue
            found[key] = {
                "queue": row["queue"],
                "worker": row["worker"],
                "host": row["to"],
                "node": self.known[key].node,
                "release": self.known[key].release,
                "seconds": row["seconds"],
                "ok": row["ok"],
                "time": now,
            }
        for result in self.earlier_results():
            key = (result.get("queue"), result.get("worker"), result.get("host"))
            # Not asked this time, but a consumer all the same. In a release nobody names the others.
            if key in self.known or self.overlap:
                found.setdefault(key, result)
        document = {"version": 1, "time": now, "run": uuid.uuid4().hex, "results": list(found.values())}
        record = Path(self.record)
        try:
            descriptor, name = tempfile.mkstemp(prefix=".canary-", dir=str(record.parent))
            scratch = Path(name)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(json.dumps(document) + "\n")
                scratch.chmod(0o640)
                scratch.replace(record)
            except BaseException:
                scratch.unlink()
                raise
        except OSError as error:
            self.notes.append(f"the record cannot be written: {readable(error)}")

    def earlier_results(self):
        try:
            results = json.loads(Path(self.record).read_text(encoding="utf-8"))["results"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return [result for result in results if isinstance(result, dict)] if isinstance(results, list) else []

    @staticmethod
    def row(lane, worker, host, ok, detail, seconds, task_id):
        return {
            "check": "task",
            "from": os.environ.get("CELERY_AGENT_HOST", ""),
            "to": host,
            "name": f"queue {lane.queue}, worker {worker or 'unknown'}",
            "queue": lane.queue,
            "worker": worker,
            "ok": ok,
            "detail": detail,
            "seconds": None if seconds is None else round(seconds, 3),
            "task_id": task_id,
        }


def main():
    # Applications print while they are imported, some from C: only our document may reach the real standard output.
    document = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        canaries = Canaries(json.load(sys.stdin))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"celery_canary.py: standard input is not a request ({readable(error)}): see the top of the file")
    canaries.load()
    if not canaries.fatal:
        # A thread, so that a broker or a database that never answers cannot keep the document back.
        worker = threading.Thread(target=canaries.run, daemon=True)
        worker.start()
        worker.join(canaries.patience)
        if worker.is_alive() and not canaries.fatal:
            canaries.fatal = "the broker or the result backend does not answer at all"
    canaries.write_record(canaries.report()["rows"])
    document.write(json.dumps(canaries.report(), ensure_ascii=True) + "\n")
    document.flush()
    os._exit(0)  # not even a thread of the application may delay or change the end


if __name__ == "__main__":
    main()
