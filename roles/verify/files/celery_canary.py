# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, The taskfleet developers
"""Send the canary through every queue until every worker that should serve it has answered.

Run with the interpreter and the environment of a release, on a host that submits tasks:

    echo '{"expect": [{"queue": "mail", "worker": "default", "host": "worker1"}], "deadline": 60, "expires": 120}' |
        venv/bin/python celery_canary.py

Of each expectation `node` and `release` are compared when they are given. With `"overlap": true` the workers of another
release may answer as well, and are not looked at: the expected ones prove themselves beside them.

One JSON document is written:
`{"rows": [one result per expectation, and one per host that answered though nobody expected it], "task_ids": [...]}`.
Exit code 0 means that the document was written, not that the rows are good. The syntax is that of Python 3.6, as for
the agent.
"""

import collections
import json
import os
import re
import sys
import threading
import time
import uuid
from urllib.parse import unquote, urlsplit

POLL_FIRST = 0.1
POLL_LAST = 1.0
# Nothing but errors for so long, and the rest of the deadline would not help either.
GIVE_UP_AFTER = 10.0
# A consumer that answered wrongly so often will not answer rightly.
WRONG_ENOUGH = 3
# Messages still under way when all is known: they may reveal a consumer that nobody expects.
LINGER = 3.0

TIMES = "\N{MULTIPLICATION SIGN}"


class Expectation:
    """One consumer: a kind of worker on a host, serving a queue."""

    def __init__(self, given):
        self.queue = given["queue"]
        self.worker = given.get("worker") or ""
        self.host = given["host"]
        self.node = given.get("node")
        self.release = given.get("release")
        self.ok = False
        self.wrong = collections.Counter()
        self.seconds = None
        self.task_id = None

    @property
    def key(self):
        return self.worker, self.host

    @property
    def settled(self):
        return self.ok or sum(self.wrong.values()) >= WRONG_ENOUGH


class Lane:
    """A queue with the consumers expected on it and the messages under way."""

    def __init__(self, queue, expectations):
        self.queue = queue
        self.expectations = expectations
        self.limit = 2 * len(expectations)
        self.routing_keys = {queue}
        self.in_flight = {}  # task id -> (nonce, time it was sent)
        self.answered = collections.Counter()
        self.unexpected = {}  # (worker, host) -> (task id, seconds)
        self.failures = collections.Counter()
        self.error = ""
        self.trouble_since = None

    @property
    def settled(self):
        return all(expectation.settled for expectation in self.expectations)

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
        queues = {}
        for given in request["expect"]:
            queues.setdefault(given["queue"], []).append(Expectation(given))
        self.lanes = [Lane(queue, expectations) for queue, expectations in queues.items()]
        if self.overlap:
            for lane in self.lanes:
                lane.limit *= 2  # the broker shares a queue out among both releases
        self.succeeded = []
        self.fatal = ""
        self.app = None
        self.agent = None
        self.reached = False

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
        # Routes of the application that end in `*` would move the canary to another queue.
        self.router = Router(routes=(), queues=self.app.amqp.queues, create_missing=True, app=self.app)
        self.options = {"serializer": self.agent.accepted_serializer(conf), "ignore_result": False}
        if self.agent.is_amqp(conf):
            self.options["mandatory"] = True  # a queue that does not exist is an error instead of silence
        for lane in self.lanes:
            try:
                lane.routing_keys.add(self.app.amqp.queues[lane.queue].routing_key)
            except KeyError:
                lane.failed(f"the application knows no queue {lane.queue} and creates none", float("-inf"))

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

    def fill(self, lane):
        """Top up: the broker shares a queue out in turn, so twice as many messages as consumers reach them all."""
        try:
            if not self.reached:
                self.reach_broker()
            while len(lane.in_flight) < lane.limit and time.monotonic() < self.ends:
                self.send(lane)
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
                self.exchange()
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
        detail = f"no answer from {expectation.host} within {self.deadline:g} s; answered: {others or 'nobody'}"
        for failure, count in lane.failures.most_common(2):
            detail += f"; {failure} ({TIMES}{count})"
        return detail + (f"; {lane.error}" if lane.error else "")

    def report(self):
        rows = []
        for lane in self.lanes:
            for expectation in lane.expectations:
                rows.append(
                    self.row(
                        lane,
                        expectation.worker,
                        expectation.host,
                        expectation.ok,
                        "answered" if expectation.ok else self.missing(lane, expectation),
                        expectation.seconds,
                        expectation.task_id,
                    )
                )
            for (worker, host), (task_id, seconds) in sorted(lane.unexpected.items()):
                detail = f"consumes {lane.queue} as {worker or 'unknown'}, but the inventory says nothing of it"
                rows.append(self.row(lane, worker, host, False, detail, seconds, task_id))
        return {"rows": rows, "task_ids": list(self.succeeded)}

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
        worker.join(canaries.deadline + GIVE_UP_AFTER + LINGER)
        if worker.is_alive() and not canaries.fatal:
            canaries.fatal = "the broker or the result backend does not answer at all"
    document.write(json.dumps(canaries.report(), ensure_ascii=True) + "\n")
    document.flush()
    os._exit(0)  # not even a thread of the application may delay or change the end


if __name__ == "__main__":
    main()
