# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, The taskfleet developers
"""The application's own Celery app, plus what an unmodified application lacks on a cluster.

Loaded as ``celery -A celery_agent worker|beat|flower``. It finds the app that CELERY_AGENT_APP names, re-exports it,
and adds: readiness and a watchdog for systemd, the operator's settings, safe transport defaults, and one task,
``celery_cluster.canary``. It runs on Celery 4.4 with Python 3.6 up to Celery 5.7 with Python 3.13, so its syntax is old
on purpose, and it imports nothing but Celery and the standard library.

Only one thing here may keep a process from starting: an application that cannot be imported. Every other fault is
logged by the logger ``celery_agent`` and the application runs without that feature.
"""

import contextlib
import faulthandler
import functools
import hashlib
import importlib.util
import json
import logging
import mmap
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from urllib.parse import parse_qs, urlsplit

VERSION = "1.0.0"
CANARY = "celery_cluster.canary"
APP_VARIABLE = "CELERY_AGENT_APP"

# A consumer that is connected and still lacks one of its queues: rejoining the cluster takes seconds, not a minute.
SILENCE_TOLERATED = 60.0
RECONNECT_TOLERATED = 300.0
STATUS_INTERVAL = 10.0
# A process of the pool that a signal stopped: nothing but a debugging session continues it, and its task waits.
CHILD_FROZEN = 60.0
# Seconds. A smaller step of the clock is a correction that an interval does not notice.
CLOCK_STEP = 5.0
# The event loop of a worker turns at least every ten seconds.
LOOP_STALLED = 300.0
LOOP_TICK = 5.0
# The loop may wait for others: to store the result of a killed task while the database is away (WORKER_DEFAULTS), or
# for a broker whose disk is full to confirm an event. A restart would help neither, and end every running task.
LOOP_WAITS = 1800.0
# How long a worker that was told to stop goes on until its children have told what they began.
HAND_OVER = 5.0
# A fault that returns with every pulse is not told with every pulse.
REPEATED = 300.0

TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)

# name -> value, applied only where the application left Celery's own default.
DEFAULTS = {
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # the default gives up after 100 attempts and the worker exits
    # The tables are there before a release is. A process that looked for them at its start could not even send a task
    # while the database is away.
    "database_create_tables_at_setup": False,
}
AMQP_DEFAULTS = {
    "broker_channel_error_retry": True,  # a restart while the broker still holds the old connection: RESOURCE_LOCKED
    "broker_connection_timeout": 15,  # 4 s stay on the TLS socket as its read timeout
}
WORKER_DEFAULTS = {
    # A database that is away for some minutes must not lose results. Only where results are written: a reader that
    # retried as long would block a web request or Flower's loop.
    "result_backend_always_retry": True,
    "result_backend_max_retries": 60,
}
PUBLISHER_OPTIONS = {"confirm_publish": True}  # otherwise a publish can vanish silently
# Milliseconds that sent data may stay unanswered by the other host. py-amqp's default is one second.
SOCKET_OPTIONS = {TCP_USER_TIMEOUT: 6000}
# Seconds, of the connection a worker consumes over: a broker that vanished with its host is noticed after two of them,
# not after minutes. Connections that only publish keep Celery's own, because nobody beats for them while they are idle.
CONSUMER_HEARTBEAT = 10

log = logging.getLogger("celery_agent")


# --- the application -------------------------------------------------------------------------------------------------


def load_app():
    """The application's app. The one function whose errors reach the caller: they are the application's."""
    name = os.environ.get(APP_VARIABLE, "").strip()
    if not name:
        raise RuntimeError(
            f"{APP_VARIABLE} is not set: write there what `celery -A` takes for your application, "
            "for example shop.celery:app"
        )
    if name.split(":")[0] == __name__:
        raise RuntimeError(f"{APP_VARIABLE} names the agent itself: write there the module of your application")
    from celery import Celery
    from celery.app.utils import find_app

    found = find_app(name)
    if not isinstance(found, Celery):
        raise TypeError(f"{APP_VARIABLE}={name} is a {type(found).__name__}, not a Celery app: name the app object")
    return found


def guarded(function):
    """A fault in the agent is logged, never raised: None is the answer of a function that failed."""
    told = []

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception:
            now = time.monotonic()
            if not told or now - told[0] >= REPEATED:
                told[:] = [now]
                log.exception("%s failed; the application runs without it", function.__name__)
            return None

    return wrapper


class State:
    """What this process knows about itself."""

    def __init__(self):
        self.pid = os.getpid()
        self.notify_address = ""
        self.watchdog_seconds = 0.0
        self.ready = False
        self.stopping = False
        self.consumer = None
        self.scheduler = None  # of beat
        self.beat_entries = None  # how many periodic tasks it has
        self.beat_clock = None  # how far the time of day is from the clock that nobody sets
        self.beat_ticked = 0.0
        self.beat_ticks = 0
        self.beat_told = -1  # the count of ticks when the watchdog was answered last
        self.beat_note = ""  # what the launcher has to say about its lock
        self.trouble = None  # (kind, since, since of any kind)
        self.last_status = ""
        self.watchdog_withheld = False
        self.frozen = {}  # (pid, its start) of a child that is stopped: since when
        self.loop_thread = None  # None: nobody watches the loop
        self.loop_ticked = 0.0
        self.loop_timer = None
        self.hand_over_until = None
        self.maybe_shutdown = None  # Celery's own
        self.refused = set()

    def setting(self, name, default=""):
        return os.environ.get("CELERY_AGENT_" + name) or default

    def seconds(self, name, default):
        text = self.setting(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = -1.0
        if value >= 0:
            return value
        if name not in self.refused:
            self.refused.add(name)
            log.error("CELERY_AGENT_%s=%s is no number of seconds: write one, for example %g", name, text, default)
        return default

    def is_main(self):
        """False in the children of the prefork pool: systemd hears the main process only."""
        return os.getpid() == self.pid


state = State()


@guarded
def take_environment():
    """Keep systemd's variables for ourselves: a child process, or a program a task starts, must not notify."""
    state.notify_address = os.environ.pop("NOTIFY_SOCKET", "")
    watchdog = os.environ.pop("WATCHDOG_USEC", "")
    os.environ.pop("WATCHDOG_PID", None)
    state.watchdog_seconds = int(watchdog) / 1e6 if watchdog.isdigit() else 0.0
    return True


@guarded
def dump_stacks():
    """The watchdog ends a process by SIGABRT: what its threads did then belongs into the journal."""
    if state.watchdog_seconds and not faulthandler.is_enabled():
        faulthandler.enable(file=2)  # not sys.stderr, which Celery replaces


# --- systemd ---------------------------------------------------------------------------------------------------------


def notify(*lines):
    """Send lines to systemd; raises OSError when nobody listens."""
    address = state.notify_address or os.environ.get("NOTIFY_SOCKET", "")
    if address and state.is_main():
        send_datagram(address, "\n".join(lines))


def send_datagram(address, text):
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(address)
        sock.sendall(text.encode("utf-8", "replace"))


def plain_notify(line):
    """The last resort: no state but the address, nothing else of the agent, never raises."""
    address = state.notify_address or os.environ.get("NOTIFY_SOCKET", "")
    if not address or os.getpid() != state.pid:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(line.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        log.error("systemd cannot be told %s: %s", line, error)


@guarded
def on_worker_ready(sender=None, **_):
    """Celery sends this after basic.consume of every queue was answered."""
    if not state.is_main():
        return
    state.consumer = sender
    if tls_board.read() is None:
        share_tls(sender)
    state.last_status = status_line()
    notify("READY=1", "STATUS=" + state.last_status)
    state.ready = True
    if state.notify_address and not start_pulse():
        disarm_watchdog()


@guarded
def on_worker_ready_anyway(sender=None, **_):
    """Connected after on_worker_ready: a fault there must not leave systemd waiting for a worker that works."""
    if not state.ready:
        plain_notify("READY=1")
        state.ready = True
        state.consumer = sender
        if not start_pulse():
            disarm_watchdog()


@guarded
def on_beat_init(sender=None, **_):
    """Celery sends this after the schedule was opened and before the first tick."""
    if not state.is_main() or state.setting("ROLE") == "worker":  # `worker -B` runs beat inside the worker
        return
    try:
        state.beat_entries = len(sender.scheduler.schedule)
        watch_beat(sender.scheduler)
        state.last_status = beat_status(time.monotonic())
        notify("READY=1", "STATUS=" + state.last_status)
    except Exception:
        log.exception("beat's status is unknown")
        plain_notify("READY=1")
    state.ready = True
    if state.notify_address and not start_pulse():
        disarm_watchdog()


@guarded
def on_beat_init_anyway(sender=None, **_):
    if state.is_main() and not state.ready and state.setting("ROLE") != "worker":
        plain_notify("READY=1")
        state.ready = True
        if state.watchdog_seconds and not start_pulse():
            disarm_watchdog()


# --- the ticks of beat -----------------------------------------------------------------------------------------------


@guarded
def watch_beat(scheduler):
    """Note every tick, whatever the class of the scheduler.

    A scheduler sleeps until something is due, or max_interval: 300 s of Celery's own, far longer than the watchdog. It
    wakes up at least twice within the watchdog's time, then, and a tick that finds nothing due costs nothing.
    """
    tick = scheduler.tick

    @functools.wraps(tick)
    def noted(*args, **kwargs):
        look_at_the_clock(scheduler)
        answer = tick(*args, **kwargs)
        state.beat_ticked = time.monotonic()
        state.beat_ticks += 1
        return answer

    if state.watchdog_seconds:
        longest = state.watchdog_seconds / 2
        scheduler.max_interval = min(scheduler.max_interval or longest, longest)
    scheduler.tick = noted
    state.beat_ticked = time.monotonic()
    state.scheduler = scheduler


@guarded
def look_at_the_clock(scheduler):
    """After the clock was set back, what runs at an interval would wait until the clock is where it was.

    It counts from now instead, so it never comes sooner than its interval. A crontab names a time of day, and what ran
    at it does not run again. At the first tick as well, because the schedule on disk may be from before.
    """
    before, state.beat_clock = state.beat_clock, time.time() - time.monotonic()
    if before is not None and state.beat_clock > before - CLOCK_STEP:
        return
    from celery.schedules import schedule

    count = 0
    for entry in scheduler.schedule.values():
        if isinstance(entry.schedule, schedule) and entry.last_run_at:
            now = entry.default_now()
            if (entry.last_run_at - now).total_seconds() > CLOCK_STEP:
                entry.last_run_at = now
                count += 1
    if before is not None or count:
        log.warning("the clock was set back: %d periodic tasks count their interval from now", count)
        # Celery's list of what is due when is of the time before.
        if hasattr(scheduler, "_heap"):
            scheduler._heap = None


def beat_status(now):
    """For example `active, last tick 3 s ago, 2 periodic tasks, release 4f2c`."""
    ticked = f"last tick {int(now - state.beat_ticked)} s ago" if state.beat_ticks else "no tick yet"
    entries = "an unknown number of" if state.beat_entries is None else state.beat_entries
    note = f", {state.beat_note}" if state.beat_note else ""
    return f"active, {ticked}, {entries} periodic task{'' if entries == 1 else 's'}, release {release()}{note}"


def beat_has_ticked():
    """Since the watchdog was answered last: systemd counts from then, and a thread of its own says nothing of beat."""
    if state.scheduler is None:
        return True
    has_ticked = state.beat_ticks != state.beat_told
    state.beat_told = state.beat_ticks
    return has_ticked


@guarded
def on_stopping(sender=None, **_):
    """Sent by the signal handler of a warm stop, and once more at the end of any stop; see also is_ending."""
    if state.is_main() and not state.stopping:
        state.stopping = True
        state.last_status = "stopping, " + activity()
        notify("STOPPING=1", "STATUS=" + state.last_status)


def is_ending(consumer):
    """A stop by remote control sends no signal before the last task has ended."""
    from celery import bootsteps

    blueprint = getattr(getattr(consumer, "controller", None), "blueprint", None)
    return getattr(blueprint, "state", None) in (bootsteps.CLOSE, bootsteps.TERMINATE)


def activity():
    from celery.worker import state as worker_state

    frozen = len(state.frozen)
    children = f"{frozen} child{'' if frozen == 1 else 'ren'} frozen, " if frozen else ""
    return f"{len(worker_state.active_requests)} active, {children}release {release()}"


def release():
    return state.setting("RELEASE", "unknown")


def status_line(now=0.0):
    """For example `3 queues, 2 active, release 4f2c`."""
    if state.stopping:
        return "stopping, " + activity()
    condition, queues = condition_of(state.consumer)
    stalled = loop_stalled(now) if now else 0.0
    if stalled and stalled >= min(SILENCE_TOLERATED, state.seconds("LOOP_STALLED", LOOP_STALLED)):
        head = f"event loop stalled for {int(stalled)} s"
    elif state.trouble and state.trouble[0] == "childless":
        head = f"no process in the pool for {int(now - state.trouble[1])} s"
    elif condition == "consuming":
        head = f"{len(queues)} queue{'' if len(queues) == 1 else 's'}"
    elif condition == "drained":
        head = "no queues (drained)"
    elif condition == "silent":
        head = f"not consuming {', '.join(queues)}"
    else:
        since = state.trouble[1] if state.trouble else now
        head = f"reconnecting for {int(now - since)} s"
    return f"{head}, {activity()}"


def condition_of(consumer):
    """(condition, queue names): consuming, drained (told to consume nothing), silent, or reconnecting."""
    if consumer is None:
        return "reconnecting", []
    connection = consumer.connection
    if not connection or not connection.connected:
        return "reconnecting", []
    wanted = list(consumer.app.amqp.queues.consume_from)
    if not wanted:
        return "drained", []
    tasks = consumer.task_consumer
    missing = [name for name in wanted if tasks is None or not tasks.consuming_from(name)]
    return ("silent", missing) if missing else ("consuming", wanted)


def seems_alive(now):
    """May systemd's watchdog be answered? A worker in trouble has a limited time to get out of it."""
    if state.stopping:
        return True
    condition, _queues = condition_of(state.consumer)
    if condition not in ("consuming", "drained"):
        state.loop_ticked = now  # between two connections there is no loop
    elif loop_hangs(now):
        return False
    elif childless(state.consumer):
        condition = "childless"
    else:
        state.trouble = None
        return True
    if state.trouble is None:
        state.trouble = (condition, now, now)
    elif state.trouble[0] != condition:
        state.trouble = (condition, now, state.trouble[2])
    grace = state.seconds("RECONNECT_GRACE", RECONNECT_TOLERATED)
    tolerated = grace if condition == "reconnecting" else SILENCE_TOLERATED
    # The second limit ends a worker that connects and fails again and again, each time in another way.
    return now - state.trouble[1] < tolerated and now - state.trouble[2] < grace + SILENCE_TOLERATED


@guarded
def pulse_once(now):
    """One look at the worker. True when that worked; that systemd did not listen is no fault."""
    try:
        tell_condition(now)
    except OSError as error:
        log.warning("systemd was not told how the worker is: %s", error)
    return True


def tell_condition(now):
    """Refresh the status, and answer the watchdog while the worker is alive."""
    alive = True
    if state.consumer is not None:
        if is_ending(state.consumer):
            on_stopping()
        check_children(now)
        alive = seems_alive(now)
        status = status_line(now)
        if status != state.last_status:
            notify("STATUS=" + status)
            state.last_status = status
    elif state.scheduler is not None:
        alive = not state.watchdog_seconds or now - state.beat_ticked < state.watchdog_seconds
        state.last_status = beat_status(now)
        notify("STATUS=" + state.last_status)
    if not alive and not state.watchdog_withheld:
        what = "no task can run" if state.scheduler is None else "no periodic task is sent"
        log.error("%s (%s): systemd's watchdog is no longer answered", what, state.last_status)
    state.watchdog_withheld = not alive
    if alive and state.watchdog_seconds and beat_has_ticked():
        notify("WATCHDOG=1")


@guarded
def pulse():
    """A thread, not a timer of the worker: those do not run while Celery retries a lost broker."""
    interval = min(state.watchdog_seconds / 3 or STATUS_INTERVAL, STATUS_INTERVAL)
    while True:
        if not pulse_once(time.monotonic()) and state.watchdog_seconds:
            plain_notify("WATCHDOG=1")  # the fault is the agent's, not the worker's
        time.sleep(interval)


@guarded
def disarm_watchdog():
    """Nobody will answer the watchdog, so systemd must not ask: it would restart a worker that works."""
    if state.watchdog_seconds or os.environ.get("WATCHDOG_USEC"):
        plain_notify("WATCHDOG_USEC=0")


@guarded
def start_pulse():
    # The pulse never returns unless it failed.
    threading.Thread(target=lambda: pulse() or disarm_watchdog(), name="celery-agent", daemon=True).start()
    return True


@guarded
def connect_signals(app):
    from celery import signals

    signals.worker_ready.connect(on_worker_ready, weak=False)
    signals.worker_ready.connect(on_worker_ready_anyway, weak=False)
    signals.beat_init.connect(on_beat_init, weak=False)
    signals.beat_init.connect(on_beat_init_anyway, weak=False)
    for name in ("worker_shutting_down", "worker_shutdown"):
        if hasattr(signals, name):
            getattr(signals, name).connect(on_stopping, weak=False)
    return True


# --- the event loop --------------------------------------------------------------------------------------------------


@guarded
def watch_loop(consumer, hub):
    """The pulse is a thread of its own: it goes on when the loop that receives messages hangs.

    Only for an event loop that never runs tasks itself. The solo pool does. And without an event loop (gevent,
    eventlet, transports made of files) a full pool holds up the consumer until a task ends, which may take hours; under
    gevent and eventlet the pulse stops together with everything else anyway.
    """
    if state.loop_timer is not None:
        state.loop_timer.cancel()  # each new connection starts the loop anew
    state.loop_thread = None
    pool = type(consumer.pool).__module__
    if state.is_main() and pool in ("celery.concurrency.prefork", "celery.concurrency.thread"):
        state.loop_timer = hub.call_repeatedly(LOOP_TICK, tick)
        state.loop_ticked = time.monotonic()
        state.loop_thread = threading.get_ident()
        if pool == "celery.concurrency.prefork":
            delay_shutdown(consumer)


@guarded
def delay_shutdown(consumer):
    """Celery forgets, at a warm stop, what a child has but has not been heard to begin (AsynPool.flush). The child runs
    it all the same, and the broker delivers it again: so the loop turns on until every child was heard."""
    from celery.worker import state as worker_state

    if state.maybe_shutdown is None:
        state.maybe_shutdown = worker_state.maybe_shutdown
    # Nothing but these two: a fault between them would end the worker, or keep it from ending.
    worker_state.maybe_shutdown = lambda: is_handing_over(consumer) or state.maybe_shutdown()


@guarded
def is_handing_over(consumer):
    from celery.worker import state as worker_state

    def is_set(flag):
        return flag is not None and flag is not False  # 0 is an exit code

    if not is_set(worker_state.should_stop) or is_set(worker_state.should_terminate):
        return False
    now = time.monotonic()
    if state.hand_over_until is None:
        state.hand_over_until = now + HAND_OVER
        consumer.task_consumer.cancel()
    jobs = list(consumer.pool._pool._cache.values())
    return now < state.hand_over_until and any(job._scheduled_for and not job._accepted for job in jobs)


@guarded
def tick():
    state.loop_ticked = time.monotonic()


def loop_stalled(now):
    """Seconds since the loop turned, beyond what is usual. 0 where nobody watches it, or it has ended."""
    if state.loop_thread is None or state.stopping or not state.seconds("LOOP_STALLED", LOOP_STALLED):
        return 0.0
    return max(0.0, now - state.loop_ticked - LOOP_TICK)


def loop_hangs(now):
    stalled = loop_stalled(now)
    limit = state.seconds("LOOP_STALLED", LOOP_STALLED)
    if not stalled or stalled < limit:
        return False
    return stalled >= max(limit, LOOP_WAITS) or not loop_waits()


def loop_waits():
    """Is the loop in the middle of storing a result, or of publishing to a broker that does not confirm it?"""
    frame = sys._current_frames().get(state.loop_thread)
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.startswith("celery.backends.") or frame.f_code.co_name == "basic_publish_confirm":
            return True
        frame = frame.f_back
    return False


# --- the processes of the prefork pool -------------------------------------------------------------------------------


def stat_of(pid):
    """(state, parent, start) of a process; None when there is none of this number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123 - pathlib would only be loaded for this
            fields = stream.read().rpartition(b")")[2].split()  # its name may contain anything
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def pool_processes(consumer):
    """The processes that billiard has not found dead yet; None in a pool without any.

    Nothing here may ask billiard whether a process lives: that reaps it, which is the business of another thread. Until
    then its number belongs to nobody else.
    """
    processes = getattr(getattr(getattr(consumer, "pool", None), "_pool", None), "_pool", None)
    if not isinstance(processes, list):
        return None
    started = [(process, process._popen) for process in list(processes)]
    return [process for process, popen in started if popen is not None and popen.returncode is None]


def childless(consumer):
    """Has the pool lost its processes, and got no others? One look says little: children come and go."""
    processes = pool_processes(consumer)
    if processes is None or not consumer.pool.num_processes or stat_of(os.getpid()) is None:
        return False
    found = [stat_of(process.pid) for process in processes]
    return not any(seen is not None and seen[0] not in "ZX" for seen in found)


@guarded
def check_children(now):
    """End a child that a signal stopped and nobody continued: the pool puts another in its place.

    A restart of the worker would do so too, and end the tasks of all other children. (A child in a debugger is in state
    `t`, not `T`. One that is gone is noticed by the pool.)
    """
    limit = state.seconds("CHILD_FROZEN", CHILD_FROZEN)
    found = {}
    for process in (pool_processes(state.consumer) if limit else None) or ():
        seen = stat_of(process.pid)
        if seen is None or seen[:2] != ("T", state.pid):
            continue
        key = (process.pid, seen[2])
        found[key] = state.frozen.get(key, now)
        if key not in state.frozen:
            log.warning("pool process %d is stopped by a signal; unless it continues, it ends in %g s", key[0], limit)
        if now - found[key] >= limit and end_frozen(*key):
            log.error("pool process %d was stopped for %d s: killed, to be replaced", key[0], now - found[key])
            found[key] = now
    state.frozen = found


@guarded
def end_frozen(pid, start):
    """SIGKILL for this process, and no other that might get its number in this moment. True when it was sent."""
    handle = None
    with contextlib.suppress(AttributeError, OSError):  # Python before 3.9, Linux before 5.3
        handle = os.pidfd_open(pid)
    try:
        if stat_of(pid) != ("T", state.pid, start):
            return False
        if handle is None:
            os.kill(pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        if handle is not None:
            os.close(handle)
    return True


# --- settings --------------------------------------------------------------------------------------------------------


def read_settings():
    """The operator's settings; an absent file means none."""
    path = state.setting("SETTINGS")
    if not path or not os.path.exists(path):  # noqa: PTH110 - pathlib would only be loaded for this
        return {}
    with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - as above
        found = json.load(stream)
    if not isinstance(found, dict):
        raise TypeError(f"{path}: expected one JSON object of Celery settings, found {type(found).__name__}")
    return found


def spellings(conf, key):
    """Every name under which this configuration may hold a setting: new, old, and with the app's namespace."""
    from celery.app import defaults

    names = [key]
    names += [name for name in conf._to_keys(key) if name not in names]
    old = defaults._TO_OLD_KEY.get(key)
    if old and old not in names:
        names.append(old)
    return names


def set_by_application(conf, key):
    """Did anybody set this? The last mapping holds Celery's defaults."""
    return any(name in mapping for mapping in conf.maps[:-1] for name in spellings(conf, key))


def respelled(conf, values):
    """The values under each name the application used, too.

    Celery 4 looks for `CELERY_X` of a namespaced app before `x`, whatever was set last; and an app with old names
    raises ImproperlyConfigured when new names reach its configuration before it was read, which is why all this
    happens after that.
    """
    result = {}
    for key, value in values.items():
        result[key] = value
        for name in spellings(conf, key)[1:]:
            if any(name in mapping for mapping in conf.maps[:-1]):
                result[name] = value
    return result


def normalized(settings):
    """JSON has string keys only: socket options are written by number or by name."""
    from celery.app import defaults

    result = {defaults._TO_NEW_KEY.get(key, key): value for key, value in settings.items()}
    unknown = sorted(key for key in result if key not in defaults.DEFAULTS)
    if unknown:
        log.warning("celery_settings: Celery does not know %s; they are set all the same", ", ".join(unknown))
    options = result.get("broker_transport_options")
    if isinstance(options, dict) and isinstance(options.get("socket_settings"), dict):
        numbered = {}
        for name, value in options["socket_settings"].items():
            numbered[int(name) if str(name).isdigit() else getattr(socket, name)] = value
        result["broker_transport_options"] = dict(options, socket_settings=numbered)
    return result


def broker_urls(conf):
    """All broker URLs of an app, one by one."""
    found = []
    for value in (conf.broker_read_url, conf.broker_write_url):
        for urls in value if isinstance(value, (list, tuple)) else [value]:
            found += [url.strip() for url in str(urls or "amqp://").split(";") if url.strip()]
    return found


def is_amqp(conf):
    """Does py-amqp carry the messages? Its options mean nothing, or something else, elsewhere."""
    transport = conf.get("broker_transport")
    urls = [] if transport else broker_urls(conf)
    schemes = {url.split("://")[0] if "://" in url else "amqp" for url in urls} or {transport}
    if "amqp" in schemes and importlib.util.find_spec("librabbitmq"):
        return False
    return schemes <= {"amqp", "amqps", "pyamqp"}


def tls_options(conf):
    """Options that check the certificate *and* the name in it, where the URL only says `ssl=1`; else None.

    py-amqp compares the name only when it is given one, and before version 5 it checks nothing at all. Given a
    dictionary by the application, the choice is the application's. Whichever broker of a list answers, its certificate
    has the name that the role sets; where it sets none, one broker is known by its address.
    """
    hosts = set()
    for url in broker_urls(conf):
        parts = urlsplit(url)
        asked = parse_qs(parts.query).get("ssl", [""])[0].lower()
        if parts.scheme != "amqps" and asked not in ("1", "true") and conf.get("broker_use_ssl") is not True:
            return None
        if asked in ("", "0", "false") and isinstance(conf.get("broker_use_ssl"), dict):
            return None
        hosts.add(parts.hostname)
    name = state.setting("BROKER_NAME") or (hosts.pop() if len(hosts) == 1 else None)
    if not name:
        log.warning("the brokers differ in name: set CELERY_AGENT_BROKER_NAME to a name in all their certificates")
        return None
    return for_this_transport({"server_hostname": name, "cert_reqs": ssl.CERT_REQUIRED, **client_certificate()})


def client_certificate():
    """Who we are, where the broker asks for it. Paths: the files are read at every connect, so they may be renewed."""
    certificate = state.setting("CLIENT_CERTIFICATE")
    return {"certfile": certificate, "keyfile": state.setting("CLIENT_KEY", None)} if certificate else {}


def for_this_transport(options):
    """TLS options in the form that the installed py-amqp understands. Without ca_certs, SSL_CERT_FILE is trusted."""
    from amqp import VERSION as AMQP_VERSION

    if tuple(AMQP_VERSION[:2]) >= (5, 1):
        return options
    # Older ones lose the authorities as soon as they are given a name, unless Python makes the context. (Not for all:
    # from Python 3.13 on such a context refuses authorities that lack some extension, which `ssl=1` accepts.)
    context = {"check_hostname": True}
    if options.get("ca_certs"):
        context["cafile"] = options["ca_certs"]
    if options.get("certfile"):
        context.update(certfile=options["certfile"], keyfile=options.get("keyfile"))
        teach_client_certificates()
    # do_handshake_on_connect: py-amqp does the handshake itself, with a timeout.
    return {"context": context, "server_hostname": options["server_hostname"], "do_handshake_on_connect": False}


def teach_client_certificates():
    """An old py-amqp takes a certificate of ours or verifies the broker's, not both."""
    from amqp.transport import SSLTransport

    plain = SSLTransport._wrap_context
    if getattr(plain, "celery_agent", False):
        return

    def wrap_context(self, sock, sslopts, certfile=None, keyfile=None, **options):
        if not certfile:
            return plain(self, sock, sslopts, **options)
        check_hostname = options.pop("check_hostname", None)
        context = ssl.create_default_context(**options)
        context.check_hostname = check_hostname
        context.load_cert_chain(certfile, keyfile)
        return context.wrap_socket(sock, **sslopts)

    wrap_context.celery_agent = True
    SSLTransport._wrap_context = wrap_context


def verifies_the_name(tls):
    """Are these options of the kind that the role offers to publishers?"""
    return (
        isinstance(tls, dict)
        and tls.get("server_hostname")
        and tls.get("cert_reqs") == ssl.CERT_REQUIRED
        and not tls.get("context")
    )


def transport_options(conf):
    """The app's transport options with the safe ones added where they are absent."""
    given = conf.get("broker_transport_options") or {}
    options = {
        **PUBLISHER_OPTIONS,
        **given,
        "socket_settings": {**SOCKET_OPTIONS, **(given.get("socket_settings") or {})},
    }
    if "ssl" not in options:
        tls = tls_options(conf)
        if tls:
            options["ssl"] = tls
    elif verifies_the_name(options["ssl"]):
        options["ssl"] = for_this_transport(options["ssl"])
    return options


@guarded
def cluster_defaults(conf):
    """What the cluster's queues are, for an application that says nothing about them."""
    from celery import VERSION as CELERY_VERSION
    from celery.app import defaults

    text = state.setting("DEFAULTS")
    wanted = json.loads(text) if text else {}
    unknown = sorted(key for key in wanted if key not in defaults.DEFAULTS)
    if unknown:
        # All or nothing: some queues of one type and some of the other are worse than either.
        log.error(
            "celery_queue_type: Celery %s.%s does not know %s: install a newer one, or write classic",
            CELERY_VERSION[0],
            CELERY_VERSION[1],
            ", ".join(unknown),
        )
        return {}
    if conf.task_queues:
        # Queues without an exchange of their own get the default one, and the default routing key. On a topic exchange
        # a message for one of them would reach all.
        wanted.pop("task_default_exchange_type", None)
    return wanted


@guarded
def safe_defaults(conf):
    """The safe values for what nobody decided."""
    from celery.app import defaults

    wanted = dict(DEFAULTS)
    if is_amqp(conf):
        wanted.update(AMQP_DEFAULTS)
        wanted.update(cluster_defaults(conf) or {})
        if state.setting("BROKER_LOGIN") == "certificate":
            wanted["broker_login_method"] = "EXTERNAL"  # whatever user and password a URL has: they are not sent
    if state.setting("ROLE") == "worker":
        wanted.update(WORKER_DEFAULTS)
    # A setting this Celery does not know stays unset.
    values = {k: v for k, v in wanted.items() if k in defaults.DEFAULTS and not set_by_application(conf, k)}
    if is_amqp(conf):
        values["broker_transport_options"] = transport_options(conf)
    return values


@guarded
def operator_settings():
    return normalized(read_settings())


@guarded
def update_conf(app, conf, values, late=False):
    """Set values; late: something may already be derived from the old ones."""
    if not values:
        return
    before = {key: conf.get(key) for key in values}
    conf.update(respelled(conf, values))
    if late and app.finalized:
        refresh_tasks(app, before)
    if late and any(key.startswith("task_") for key in values):
        forget_routing(app)


def refresh_tasks(app, before):
    """A bound task holds a copy of its settings: renew those copied from the old value."""
    for task in list(app._tasks.values()):
        for attribute, key in getattr(task, "from_config", ()):
            if key in before and getattr(task, attribute, None) == before[key]:
                setattr(type(task), attribute, app.conf.get(key))


def forget_routing(app):
    """Queues and the sender are computed once: an app that touched them while it was imported has the old ones."""
    amqp = app.__dict__.get("amqp")
    if amqp is None:
        return
    old = amqp.__dict__.get("queues")
    for name in ("queues", "router", "default_queue", "default_exchange", "send_task_message", "create_task_message"):
        amqp.__dict__.pop(name, None)
    amqp._rtable = None
    for name, queue in (old or {}).items():
        if name not in amqp.queues and not made_by_name(old, queue):
            amqp.queues.add(queue)


def made_by_name(queues, queue):
    """Would Celery make the same queue for its name alone? Then it is made anew, as the settings are now."""
    default = queues.default_exchange is not None and queue.exchange == queues.default_exchange
    return default or queue == queues.new_missing(queue.name)


@guarded
def apply_settings(app, conf, late=False):
    """The operator's will first, then safe values for the rest."""
    update_conf(app, conf, operator_settings(), late)
    update_conf(app, conf, safe_defaults(conf), late)


@guarded
def hook_settings(app):
    """Apply now if the app has read its configuration, and whenever it reads it (again).

    Reading it here would be too early for an app that completes its configuration later.
    """
    from celery import signals

    def on_configure(sender=None, source=None, **_):
        apply_settings(app, app.conf if source is None else source)

    def on_worker_init(sender=None, conf=None, **_):
        apply_settings(app, app.conf if conf is None else conf)

    app.on_after_configure.connect(on_configure, weak=False)
    signals.celeryd_init.connect(on_worker_init, weak=False)
    if app.configured:
        apply_settings(app, app.conf, late=True)


# --- publishing without declaring ------------------------------------------------------------------------------------


@guarded
def on_publish(sender=None, declare=None, **_):
    """Queues named on the fly and given as objects both pass here, right before they would be declared."""
    for entity in declare or ():
        entity.no_declare = True
        if getattr(entity, "exchange", None) is not None:
            entity.exchange.no_declare = True


@guarded
def hook_no_declare(app):
    """An identity that may not configure anything on the broker must not try: the broker closes its channel."""
    if state.setting("NO_DECLARE") != "1":
        return
    from celery import signals
    from celery.events.event import event_exchange

    signals.before_task_publish.connect(on_publish, weak=False)
    event_exchange.no_declare = True  # task_send_sent_event: `celeryev` is copied from this one

    def on_configure(sender=None, **_):
        hook_queues(app)

    app.on_after_configure.connect(on_configure, weak=False)
    if app.configured:
        hook_queues(app)


@guarded
def hook_queues(app):
    """Mark every queue as it enters the app's table, so that nobody else who reads it declares one either."""
    amqp = app.amqp
    amqp.queues_cls = no_declare_queues(amqp.queues_cls)
    existing = amqp.__dict__.get("queues")
    if existing is not None:
        existing.__class__ = no_declare_queues(type(existing))
        for queue in existing.values():
            on_publish(declare=[queue])


def no_declare_queues(base):
    if getattr(base, "celery_agent", False):
        return base

    class NoDeclareQueues(base):
        celery_agent = True

        def __setitem__(self, name, queue):
            super().__setitem__(name, queue)
            on_publish(declare=[queue])

    return NoDeclareQueues


# --- TLS, as the worker's own connection has it ----------------------------------------------------------------------


class Board:
    """A note of the main process that its prefork children can read: they do not hold the consumer's connection."""

    size = 8192
    header = struct.Struct(">II")

    def __init__(self):
        self.memory = mmap.mmap(-1, self.size)  # anonymous and shared: made before the pool forks

    def write(self, value):
        data = json.dumps(value).encode()
        if len(data) > self.size - self.header.size:
            raise ValueError(f"a note of {len(data)} bytes does not fit")
        self.memory[self.header.size : self.header.size + len(data)] = data
        self.memory[: self.header.size] = self.header.pack(len(data), zlib.crc32(data))

    def read(self):
        for _attempt in range(5):
            length, checksum = self.header.unpack(self.memory[: self.header.size])
            if not length:
                return None
            data = self.memory[self.header.size : self.header.size + length]
            if zlib.crc32(data) == checksum:
                return json.loads(data.decode())
            time.sleep(0.01)  # read while it was written
        return None


class NoBoard:
    """What remains when shared memory cannot be had: every process looks for itself."""

    def write(self, value):
        pass

    def read(self):
        return None


@guarded
def make_board():
    return Board()


def peer_summary(certificate):
    """For example `CN=broker1; broker1, 10.0.0.2`."""
    names = [value for rdn in certificate.get("subject", ()) for key, value in rdn if key == "commonName"]
    alternatives = [value for _kind, value in certificate.get("subjectAltName", ())]
    return "; ".join(part for part in ("CN=" + names[0] if names else "", ", ".join(alternatives)) if part)[:1000]


def tls_of_socket(sock):
    """Is this socket encrypted to a peer whose certificate and name were both checked? `why` says what is missing."""
    result = {"verified": False, "version": None, "cipher": None, "peer": "", "why": ""}
    if not isinstance(sock, ssl.SSLSocket):
        result["why"] = "the broker connection is not encrypted"
        return result
    certificate = sock.getpeercert() or {}  # empty, too, when it was not validated
    result["version"] = sock.version()
    result["cipher"] = (sock.cipher() or (None,))[0]
    result["peer"] = peer_summary(certificate)
    if result["version"] is None:
        result["why"] = "the TLS handshake is not finished"
    elif sock.context.verify_mode != ssl.CERT_REQUIRED:
        result["why"] = "the certificate of the broker is not checked"
    elif not certificate:
        result["why"] = "the broker showed no certificate"
    elif not (sock.context.check_hostname and sock.server_hostname):
        result["why"] = "the broker's certificate is checked, but not the name in it (no server_hostname)"
    else:
        result["verified"] = True
    return result


def tls_of_connection(connection):
    """The same for a kombu connection that is established."""
    transport = connection.transport
    if transport.driver_type != "amqp":
        why = f"the transport {transport.driver_name} is not AMQP: there is no TLS connection to look at"
        return {"verified": False, "version": None, "cipher": None, "peer": "", "why": why}
    return tls_of_socket(connection.connection.transport.sock)


@guarded
def share_tls(consumer):
    """Keep what the children cannot see."""
    if state.is_main():
        tls_board.write(dict(tls_of_connection(consumer.connection), connection="consumer"))


@guarded
def tls_for_canary(app):
    """As the main process noted it, else as a connection of our own has it."""
    noted = tls_board.read()
    if noted is not None:
        return noted
    with app.connection_for_read() as connection:
        connection.connect()
        return dict(tls_of_connection(connection), connection="own")


@guarded
def hook_consumer(app):
    """A step of the consumer starts again with every new connection."""
    from celery import bootsteps

    class NoteConnection(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        @guarded
        def __init__(self, parent, **kwargs):
            super().__init__(parent, **kwargs)
            shorten_heartbeat(parent)

        @guarded
        def start(self, c):
            share_tls(c)

        @guarded
        def register_with_event_loop(self, c, hub):
            watch_loop(c, hub)

    app.steps["consumer"].add(NoteConnection)


@guarded
def shorten_heartbeat(consumer):
    """Before the first connection. Without an event loop there is no heartbeat at all (0), and none is made."""
    conf = consumer.app.conf
    is_solo = type(consumer.pool).__module__ == "celery.concurrency.solo"  # beats only between its tasks
    if consumer.amqheartbeat and not is_solo and is_amqp(conf) and not set_by_application(conf, "broker_heartbeat"):
        consumer.amqheartbeat = CONSUMER_HEARTBEAT


@guarded
def hook_delayed_delivery():
    """Several URLs are the brokers of one cluster: what one of them declares is there for all.

    Celery takes them for independent brokers. After each lost connection it visits every one, and waits for those that
    are away, four times with pauses, before the worker consumes: 45 s where a host had lost its network.
    """
    try:
        from celery.worker.consumer.delayed_delivery import DelayedDelivery
    except ImportError:  # before Celery 5.5
        return
    check = DelayedDelivery._validate_broker_urls

    @functools.wraps(check)
    def any_of_them(self, broker_urls):
        check(self, broker_urls)
        return {None}  # no URL: a connection that tries one after the other until one answers

    DelayedDelivery._validate_broker_urls = any_of_them


# --- the canary ------------------------------------------------------------------------------------------------------


def canary_answer(nonce):
    return hashlib.sha256(("canary:" + nonce).encode()).hexdigest()


def canary(self, nonce):
    """Prove where a message of this queue is executed, and over which connection it came."""
    tls = tls_for_canary(self.app)
    if tls is None:
        why = "the agent could not look at the connection: see the log of the worker"
        tls = {"verified": False, "version": None, "cipher": None, "peer": "", "why": why}
    return {
        "nonce": nonce,
        "answer": canary_answer(nonce),
        "host": state.setting("HOST"),
        "node": self.request.hostname,
        "release": state.setting("RELEASE"),
        "worker": state.setting("WORKER"),
        "queue": (self.request.delivery_info or {}).get("routing_key"),
        "pid": os.getpid(),
        "tls": tls,
        "agent": VERSION,
    }


def accepted_serializer(conf):
    """JSON if the app's workers accept it, else what the app itself uses."""
    from kombu.serialization import registry

    accepted = [str(name) for name in conf.accept_content or ()]
    accepted = [registry.type_to_name.get(name, name) for name in accepted]
    if not accepted or "json" in accepted:
        return "json"
    return conf.task_serializer if conf.task_serializer in accepted else accepted[0]


@guarded
def register_canary(app):
    from celery import Task

    class CanaryTask(Task):
        """Celery's own base class: the app's may open database sessions or wrap results."""

        @classmethod
        def annotate(cls):
            """task_annotations of the app are meant for its own tasks."""

    try:
        app.task(
            bind=True,
            base=CanaryTask,
            name=CANARY,
            shared=False,
            lazy=False,
            acks_late=False,
            ignore_result=False,
            rate_limit=0,  # None would take the app's default
            max_retries=0,
            serializer=accepted_serializer(app.conf),
        )(canary)
    except Exception:
        # Registered and half made, it would stop the worker when that prepares its tasks.
        app._tasks.pop(CANARY, None)
        raise


@guarded
def hook_canary(app):
    """After the app's own tasks: a fault here must not interrupt their registration."""

    def on_finalize(sender=None, **_):
        register_canary(app)

    app.on_after_finalize.connect(on_finalize, weak=False)
    if app.finalized:
        register_canary(app)


# --- all of it -------------------------------------------------------------------------------------------------------


@guarded
def install(app):
    """True when systemd will hear of this process."""
    notifying = connect_signals(app)
    hook_settings(app)
    hook_no_declare(app)
    hook_consumer(app)
    hook_delayed_delivery()
    hook_canary(app)
    return notifying


if not take_environment():
    disarm_watchdog()
app = celery = load_app()
dump_stacks()
tls_board = make_board() or NoBoard()
if not install(app):
    # Nobody would say it later, and a unit of Type=notify would be killed while it works.
    plain_notify("READY=1")
    disarm_watchdog()
