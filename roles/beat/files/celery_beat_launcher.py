# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, The taskfleet developers
"""``celery beat`` on several hosts, of which one sends: ``python celery_beat_launcher.py -A celery_agent beat ...``

Who holds a session-level advisory lock of PostgreSQL is active; the others stand by with the application loaded. The
session belongs to a child process, ``psql``, so that the application's environment needs no driver. It reaches the
server itself: a pooler would lend the session, and the lock with it, to somebody else.

Never two at once, in numbers (seconds):

- The holder asks its session every ASK whether it still has the lock. An answer is worth LEASE, counted from when the
  question was sent. Nothing is sent without a valid answer. When there is none, the process ends within GRACE, and with
  it whatever is on its way to a broker that does not answer.
- The server ends the session, and with it frees the lock, IDLE after the last question it heard (idle_session_timeout,
  PostgreSQL 14), whatever the network does to the packets of a host that is cut off. IDLE > LEASE: the old holder
  stops before the lock is free.
- The server may lose a session earlier: it restarts, or somebody ends it. So who gets the lock waits HANDOVER before
  its first tick. HANDOVER > LEASE + GRACE: by then an old holder has ended, wherever its host is.

A host that is gone without a word is replaced after at most IDLE + POLL + HANDOVER = 6 + 1 + 5 = 12 s.

Every time is that of a clock which nobody sets and which goes on while the machine is suspended.

Its syntax is old on purpose, and it imports nothing but Celery and the standard library, as the agent does.
"""

import contextlib
import functools
import glob
import hashlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time

ASK = 1.0
LEASE = 4.0
IDLE = 6.0
POLL = 1.0
HANDOVER = 5.0
# How long one question may take before the session counts as lost; the first one has to connect as well.
PATIENCE = 3.0
PATIENCE_TO_CONNECT = 6.0
# A beat that lost the lock ends by itself, so that its schedule is written; or it is ended.
GRACE = 0.75
# Between two attempts to reach a server that is away.
RETRY = 2.0
# What the session is called in pg_stat_activity, before the host. The server keeps 63 bytes.
NAMED = "beat on "
EXIT_LOST = 3
EXIT_MISUSE = 64

SERVICE_VARIABLE = "CELERY_BEAT_LOCK_SERVICE"
CLUSTER_VARIABLE = "CELERY_BEAT_LOCK_CLUSTER"
PSQL_VARIABLE = "CELERY_BEAT_LOCK_PSQL"

HOLDER = "SELECT max(a.application_name) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE "
GRANTED = (
    "l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

log = logging.getLogger("celery_beat_launcher")


def now():
    """Seconds that no change of the system's time moves. CLOCK_BOOTTIME: a suspended machine ages its lease, too."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def lock_key(cluster):
    """Two numbers below 2^31, as pg_try_advisory_lock(int, int) and pg_locks both show them."""
    digest = hashlib.sha256(("celery-cluster-beat:" + cluster).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1, int.from_bytes(digest[4:8], "big") >> 1


def find_psql():
    """The newest real one. Debian's wrapper in PATH is a Perl program that looks for a cluster of this host first."""
    given = os.environ.get(PSQL_VARIABLE)
    if given:
        return given
    found = glob.glob("/usr/lib/postgresql/*/bin/psql")  # noqa: PTH207 - pathlib would only be loaded for this
    return max(found, key=lambda path: [int(part) if part.isdigit() else 0 for part in path.split("/")], default="psql")


def one_line(text):
    return " ".join(text.split())[:200]


class LostError(Exception):
    """There is no session, or it does not answer as it must; the message says why."""


class Session:
    """One psql, one session of the server."""

    def __init__(self, service, cluster, name, psql):
        self.key = lock_key(cluster)
        self.count = 0
        self.buffer = b""
        self.said = []
        self.backend = ""
        # TCP as a second way to notice a dead peer, on both ends; the first one is the traffic of the questions itself.
        target = (
            f"service={service} connect_timeout=3 keepalives=1 keepalives_idle=2 keepalives_interval=1"
            " keepalives_count=3 tcp_user_timeout=4000"
        )
        options = {
            "idle_session_timeout": f"{int(IDLE)}s",
            "statement_timeout": f"{int(PATIENCE)}s",
            "client_connection_check_interval": "1s",
            "tcp_keepalives_idle": "2",
            "tcp_keepalives_interval": "1",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "4000",
        }
        environment = dict(
            os.environ,
            PGAPPNAME=(NAMED + name)[:63],
            PGOPTIONS=" ".join(f"-c {key}={value}" for key, value in options.items()),
            LC_ALL="C.UTF-8",
        )
        # psql takes settings of these over the service's.
        for variable in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PSQLRC"):
            environment.pop(variable, None)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
                [psql, "-XqAtw", "--set=ON_ERROR_STOP=1", "--dbname=" + target],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                bufsize=0,
                close_fds=True,
                start_new_session=True,
            )
        except OSError as error:
            raise LostError(f"psql cannot be run: {error}") from error
        os.set_blocking(self.process.stdin.fileno(), False)

    def ask(self, select_list, patience=None):
        """The values of one row, as text; raises LostError."""
        if patience is None:
            patience = PATIENCE if self.backend else PATIENCE_TO_CONNECT
        self.count += 1
        self.said = []
        mark = f"beat{self.count}"
        question = f"SELECT '{mark}', pg_backend_pid(), {select_list};\n"
        try:
            if os.write(self.process.stdin.fileno(), question.encode()) != len(question):
                raise LostError("psql does not read")
        except BlockingIOError as error:
            raise LostError("psql does not read") from error
        except OSError as error:
            self.drain()
            raise LostError(self.reason("psql has ended")) from error
        ends = now() + patience
        while True:
            line = self.line(ends)
            fields = line.split("|")
            if fields[0] == mark:
                break
            if not fields[0].startswith("beat"):
                self.said = [*self.said[:5], line]
        if len(fields) < 3 or not fields[1].isdigit():
            raise LostError("psql answered " + repr(one_line(line)))
        if self.backend not in ("", fields[1]):
            raise LostError("another session answers: something between here and the server shares connections")
        self.backend = fields[1]
        return fields[2:]

    def line(self, ends):
        while b"\n" not in self.buffer:
            rest = ends - now()
            if rest <= 0 or not select.select([self.process.stdout], [], [], min(rest, 0.5))[0]:
                if rest <= 0.5:
                    raise LostError(self.reason("the database does not answer"))
                continue
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise LostError(self.reason("the session has ended"))
            self.buffer += data
            if len(self.buffer) > 1000000:
                raise LostError("psql answered without an end")
        found, _newline, self.buffer = self.buffer.partition(b"\n")
        return found.decode("utf-8", "replace").strip()

    def drain(self):
        """What psql said before it ended."""
        with contextlib.suppress(OSError):
            while select.select([self.process.stdout], [], [], 0.2)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    break
                self.said += [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]

    def reason(self, otherwise):
        return one_line(" ".join(self.said[:2])) or otherwise

    def try_lock(self):
        """(whether the lock is ours now, the name of the host whose it is otherwise)."""
        one, two = self.key
        mine, holder = self.ask(f"pg_try_advisory_lock({one}, {two}), ({HOLDER}{self.lock()})")[:2]
        if mine not in ("t", "f"):
            raise LostError("psql answered " + repr(one_line(mine)))
        return mine == "t", holder[len(NAMED) :] if holder.startswith(NAMED) else holder

    def holds(self, patience=None):
        """Asks the server whether this very session has the lock."""
        held = self.ask(f"EXISTS (SELECT FROM pg_locks l WHERE {self.lock()} AND l.pid = pg_backend_pid())", patience)[
            0
        ]
        if held == "f":
            raise LostError("the server says that this session has no lock")
        if held != "t":
            raise LostError("psql answered " + repr(one_line(held)))

    def lock(self):
        """Which row of pg_locks is meant."""
        one, two = self.key
        return f"{GRANTED} AND l.classid = {one} AND l.objid = {two}"

    def close(self):
        """psql ends at the end of its input, and the session with it."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(OSError):
            self.process.kill()
        with contextlib.suppress(OSError):
            self.process.stdout.close()
        self.process.wait()


class Lease:
    """What the last answer is worth, renewed by a thread. A session that is lost ends this process."""

    def __init__(self, session, end):
        self.session = session
        self.end = end
        self.condition = threading.Condition()
        self.asked = now()
        self.lost = ""

    def start(self):
        threading.Thread(target=self.renew_for_ever, name="celery-beat-lease", daemon=True).start()

    def renew_for_ever(self):
        try:
            while not self.lost:
                self.renew()
                time.sleep(max(0.0, ASK - self.age()))
        except LostError as error:
            self.give_up(str(error))
        except Exception as error:
            log.exception("the lock cannot be watched")
            self.give_up(f"{type(error).__name__}: {error}")

    def renew(self):
        # From before the question: the server's time begins at its answer, which is later.
        asked = now()
        self.session.holds(max(0.0, LEASE - self.age()))
        with self.condition:
            self.asked = asked
            self.condition.notify_all()

    def age(self):
        return now() - self.asked

    def give_up(self, reason):
        with self.condition:
            if self.lost:
                return
            self.lost = reason or "unknown"
            self.condition.notify_all()
        self.end(self.lost)

    def check(self):
        """Returns when this process may send. When it may not, it raises SystemExit: nothing of Celery catches that.

        An answer that is too old is waited for: the thread asks every second, and has an answer or none soon.
        """
        with self.condition:
            self.condition.wait_for(lambda: self.lost or self.age() < LEASE, timeout=PATIENCE + ASK)
            valid = not self.lost and self.age() < LEASE
        if not valid:
            self.give_up(f"no answer of the database for {self.age():.0f} s")
            raise SystemExit(EXIT_LOST)


def gate(lease, scheduler):
    """Every tick, and every message of this process, passes the lease.

    The class of the scheduler does not matter: what it sends passes Celery's before_task_publish last, however it
    decides what is due. Celery swallows the exceptions of a signal's receivers, but not SystemExit.
    """
    from celery import signals

    for name in ("tick", "apply_entry", "apply_async"):
        function = getattr(scheduler, name, None)
        if function is not None:
            setattr(scheduler, name, passing(lease, function))

    def before_publish(**_):
        lease.check()

    signals.before_task_publish.connect(before_publish, weak=False)


def passing(lease, function):
    @functools.wraps(function)
    def checked(*args, **kwargs):
        lease.check()
        return function(*args, **kwargs)

    return checked


class Launcher:
    """Stands by until the lock is ours, and ends the process when it is not any more."""

    def __init__(self, service, cluster, agent):
        self.service = service
        self.cluster = cluster
        self.agent = agent
        self.name = agent.state.setting("HOST") or os.uname().nodename
        self.psql = find_psql()
        self.session = None
        self.lease = None
        self.told = ""
        self.is_ready = False

    def tell(self, status):
        """To systemd. The watchdog is answered as well: whoever stands by has no ticks."""
        lines = [] if self.is_ready else ["READY=1"]
        if status != self.told:
            lines.append("STATUS=" + status)
            log.info("%s", status)
        if self.agent.state.watchdog_seconds:
            lines.append("WATCHDOG=1")
        with contextlib.suppress(OSError):
            if lines:
                self.agent.notify(*lines)
            self.told, self.is_ready = status, True

    def stand_by(self):
        """Returns with the lock in our hands, and every answer of its holder before us out of date."""
        why = ""
        while True:
            try:
                if self.session is None:
                    self.session = Session(self.service, self.cluster, self.name, self.psql)
                is_mine, holder = self.session.try_lock()
            except LostError as error:
                why = str(error)
                self.forget_session()
                self.tell(f"stopped, no lock: {why}")
                time.sleep(RETRY)
                continue
            if is_mine and self.take_over():
                return
            if not is_mine:
                self.tell(f"standby, {holder or 'another host'} is active")
                time.sleep(POLL)

    def take_over(self):
        """The lock is ours. False when it was lost again before the time of its last holder was over."""
        self.tell("taking over")
        until = now() + HANDOVER
        try:
            while True:
                asked = now()
                self.session.holds()
                self.tell("taking over")
                if now() >= until:
                    break
                time.sleep(min(ASK, max(0.05, until - now())))
        except LostError as error:
            self.forget_session()
            self.tell(f"stopped, no lock: {error}")
            return False
        self.lease = Lease(self.session, self.end)
        self.lease.asked = asked
        return True

    def forget_session(self):
        if self.session is not None:
            self.session.close()
            self.session = None

    def end(self, reason):
        """The lock is lost. Beat has a moment to write its schedule, which sends nothing; systemd starts it anew."""
        status = f"stopped, no lock: {reason}"
        log.error("%s", status)
        with contextlib.suppress(Exception):
            self.agent.state.scheduler = None  # its pulse has nothing more to say
            self.agent.notify("STATUS=" + status)
        threading.Thread(target=self.end_soon, name="celery-beat-end", daemon=True).start()

    def end_soon(self):
        with contextlib.suppress(OSError):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        self.leave()

    def leave(self):
        """The way out is over, whatever else Celery has on its mind. A psql that waits for its server would stay."""
        with contextlib.suppress(OSError):
            self.session.process.kill()
        os._exit(EXIT_LOST)

    def run(self, beat, start):
        """In the place of Service.start: the application is loaded, and no schedule is open yet."""
        with ending_at_once():
            self.stand_by()
        self.agent.state.beat_note = "lock held"
        self.lease.start()
        gate(self.lease, beat.scheduler)
        self.lease.check()
        try:
            return start(beat)
        finally:
            if self.lease.lost:
                try:
                    self.leave()
                finally:
                    # The SIGTERM of end_soon may arrive in leave(), where Celery's handler raises SystemExit: code 0.
                    os._exit(EXIT_LOST)


@contextlib.contextmanager
def ending_at_once():
    """Celery's handler writes the schedule, which is not open while standing by, and opening it is not ours to do."""

    def leave(_signal, _frame):
        raise SystemExit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def install(service, cluster):
    """Celery makes its service itself, after the arguments are read: it starts when we say so."""
    from celery import beat

    start = beat.Service.start

    @functools.wraps(start)
    def start_with_lock(self, *args, **kwargs):
        import celery_agent  # loaded by now, as `-A celery_agent` says

        return Launcher(service, cluster, celery_agent).run(self, lambda found: start(found, *args, **kwargs))

    beat.Service.start = start_with_lock


def main():
    service, cluster = os.environ.get(SERVICE_VARIABLE, ""), os.environ.get(CLUSTER_VARIABLE, "")
    if not service or not cluster:
        print(f"{SERVICE_VARIABLE} and {CLUSTER_VARIABLE} name the lock: set them", file=sys.stderr)
        return EXIT_MISUSE
    install(service, cluster)
    from celery.__main__ import main as celery

    sys.argv[0] = "celery"
    return celery()


if __name__ == "__main__":
    sys.exit(main())
