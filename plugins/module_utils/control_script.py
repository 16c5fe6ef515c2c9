# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What celery_control runs inside the application's environment: one request in, one answer out.

The module hands the text of this file to the application's own interpreter, so it imports nothing but the standard
library and, when it runs, the agent, and its syntax is that of Python 3.8. A JSON answer goes to standard output in a
line that begins with the marker. Everything that takes several steps happens in here, because importing an application
may take ten seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import ssl
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

MARKER = "CELERY_CONTROL "
# Seconds between two looks at a worker.
PAUSE_FIRST = 0.1
PAUSE_LAST = 2.0
# A worker may hold very many messages with an ETA: all are counted, so many are named.
NAMED = 100
REFUSED = (403, 530)
MISSING = 404


class ScriptError(Exception):
    """Why a request cannot be carried out; the kind tells the module which remedy to name."""

    def __init__(self, kind: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.kind = kind
        self.more = more


# --- errors ----------------------------------------------------------------------------------------------------------


def passwords() -> list[str]:
    """The secrets an error message might repeat."""
    found: set[str] = set()
    for value in list(os.environ.values()):
        for url in value.split(";") if "://" in value else []:
            try:
                quoted = urlsplit(url.strip()).password
            except ValueError:
                continue
            if quoted:
                found.update((quoted, unquote(quoted)))
    return sorted(found, key=len, reverse=True)


def readable(error: BaseException) -> str:
    """One line about an exception, without secrets."""
    message = " ".join(str(error).split()) or "no message"
    for secret in passwords():
        message = message.replace(secret, "***")
    message = re.sub(r"(\w+://[^:/@\s]*):[^@\s]+@", r"\1:***@", message)
    return f"{type(error).__name__}: {message}"[:1000]


def chain(error: BaseException | None) -> list[BaseException]:
    """An exception and what it was made of; libraries wrap the one that tells the reason."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def code_of(error: BaseException) -> int:
    """The number with which the broker refused something; 0 for errors of another kind."""
    code: Any = getattr(error, "reply_code", None) or getattr(error, "code", None)
    return int(code) if str(code).isdigit() else 0


def broker_fault(error: BaseException) -> ScriptError:
    """An error of the connection, as the kind that has a remedy of its own."""
    if isinstance(error, ScriptError):
        return error
    for cause in chain(error):
        if code_of(cause) in REFUSED:
            return ScriptError("refused", readable(cause))
        if isinstance(cause, ssl.SSLError):
            return ScriptError("tls", readable(cause))
    for cause in chain(error):
        if isinstance(cause, OSError):
            return ScriptError("unreachable", readable(cause))
    return ScriptError("broker", readable(error))


def import_fault(error: BaseException) -> ScriptError:
    """An error of the application, with the line it comes from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_absolute()]
    # The message of a SyntaxError says where it is.
    where = (
        f" ({frames[-1].filename}, line {frames[-1].lineno})" if not isinstance(error, SyntaxError) and frames else ""
    )
    return ScriptError("import", readable(error) + where)


# --- the workers -----------------------------------------------------------------------------------------------------


def named(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """How many tasks, and the first of them by name. Their arguments stay where they are: they may be secret."""
    rows = []
    for entry in tasks[:NAMED]:
        task = entry.get("request", entry)
        row = {"id": task.get("id"), "name": task.get("name") or task.get("type")}
        if entry.get("eta"):
            row["eta"] = entry["eta"]
        started = task.get("time_start")
        if started:
            row["since"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
        rows.append(row)
    return {"count": len(tasks), "tasks": rows}


class Workers:
    """The workers of one request, over one connection."""

    def __init__(self, app: Any, connection: Any, timeout: float) -> None:
        self.app = app
        self.connection = connection
        self.timeout = timeout

    def ask(self, method: str, names: list[str], **arguments: Any) -> dict[str, Any]:
        """The answers by node name; who does not answer in time is not in it."""
        if not names:
            return {}
        # Celery's own client knows which arguments its version of the worker takes.
        inspect = self.app.control.inspect(destination=names, timeout=self.timeout, connection=self.connection)
        found = getattr(inspect, method)(**arguments) or {}
        for name, answer in found.items():
            if isinstance(answer, dict) and "error" in answer:
                raise ScriptError("worker", f"{name} cannot tell {method}: {answer['error']}")
        return dict(found)

    def everybody(self) -> list[str]:
        """All nodes that answer, for a message about one that does not."""
        inspect = self.app.control.inspect(timeout=self.timeout, connection=self.connection)
        return sorted(inspect.ping() or {})

    def tell(self, command: str, names: list[str], arguments: dict[str, Any]) -> None:
        """A command that all these nodes must confirm."""
        replies = self.app.control.broadcast(
            command,
            arguments=arguments,
            destination=names,
            reply=True,
            timeout=self.timeout,
            connection=self.connection,
        )
        answered: dict[str, Any] = {}
        for reply in replies or []:
            answered.update(reply)
        for name in names:
            answer = answered.get(name)
            if answer is None:
                raise ScriptError("silent", f"{name} did not confirm {command} within {self.timeout:g} s", nodes=[name])
            if isinstance(answer, dict) and "error" in answer:
                raise ScriptError("worker", f"{name} refused {command}: {answer['error']}")

    def queues(self, names: list[str]) -> dict[str, list[str]]:
        answers = self.ask("active_queues", names)
        return {name: sorted(queue["name"] for queue in found or []) for name, found in answers.items()}

    def look(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """What each node does. In the order in which a task moves on, so that none slips through between two looks."""
        seen: dict[str, dict[str, Any]] = {name: {"queues": found} for name, found in self.queues(names).items()}
        for method, arguments in (("scheduled", {}), ("reserved", {}), ("active", {"safe": True})):
            answers = self.ask(method, list(seen), **arguments)
            for name in list(seen):
                if name in answers:
                    seen[name][method] = named(answers[name] or [])
                else:
                    del seen[name]
        return seen

    def consumers(self, queue: str) -> int:
        """How many consumers the broker counts. A passive declaration needs no permission to change anything."""
        try:
            # A channel of its own: the broker closes the one on which it refuses something.
            channel = self.connection.channel()
            try:
                return int(channel.queue_declare(queue=queue, passive=True).consumer_count)
            finally:
                if getattr(channel, "is_open", True):
                    channel.close()
        except Exception as error:
            if MISSING in [code_of(cause) for cause in chain(error)]:
                raise ScriptError("queue", f"the broker has no queue {queue}") from error
            raise

    def declaration(self, queue: str) -> dict[str, Any]:
        """The arguments of add_consumer; a worker that does not know the queue declares it as the application would."""
        try:
            found = self.app.amqp.queues[queue]
        except KeyError:
            raise ScriptError("queue", f"the application knows no queue {queue} and creates none") from None
        arguments = {
            "queue": queue,
            "exchange": found.exchange.name,
            "exchange_type": found.exchange.type,
            "routing_key": found.routing_key,
        }
        if found.queue_arguments:
            arguments["queue_arguments"] = dict(found.queue_arguments)
        return arguments


# --- the actions -----------------------------------------------------------------------------------------------------


class Job:
    """One request and what came of it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.check = bool(request.get("check"))
        self.nodes: list[dict[str, Any]] = request["nodes"]
        self.started = time.monotonic()
        self.ends = self.started + float(request["deadline"])
        # What is known so far. The thread that waits for us reads it when we never return.
        self.answer: dict[str, Any] = {"nodes": {}, "changes": []}

    def run(self, app: Any) -> None:
        connected = False
        while True:
            try:
                with app.connection_for_write() as connection:
                    self.connect(connection)
                    connected = True
                    self.workers = Workers(app, connection, float(self.request["timeout"]))
                    getattr(self, self.request["action"])()
                break
            except Exception as error:
                fault = broker_fault(error)
                # Whoever waits an hour sees a broker restart. Only waiting can be begun again without harm.
                lost = connected and fault.kind in ("unreachable", "broker")
                if self.request["action"] != "wait_idle" or not lost or self.late():
                    self.answer["error"] = {"kind": fault.kind, "text": str(fault), **fault.more}
                    break
                self.pause(PAUSE_LAST)
        self.answer["done"] = True

    @staticmethod
    def connect(connection: Any) -> None:
        """Every broker of the list once, and an error: publishing would try for ever."""
        tries = len(getattr(connection, "alt", None) or ()) + 1
        connection.ensure_connection(max_retries=tries, interval_start=0, interval_step=0.2)

    def asked(self) -> list[str]:
        return [node["name"] for node in self.nodes if node["ask"]]

    def pairs(self) -> list[tuple[str, str]]:
        """The changes so far, as (queue, node)."""
        return [(change["queue"], change["node"]) for change in self.answer["changes"]]

    def book(self, pairs: list[tuple[str, str]]) -> None:
        self.answer["changes"] = [{"node": node, "queue": queue} for queue, node in sorted(set(pairs))]

    def late(self) -> bool:
        return time.monotonic() >= self.ends

    def pause(self, seconds: float) -> float:
        """Sleep, but not over the deadline; returns the next pause."""
        time.sleep(max(0.0, min(seconds, self.ends - time.monotonic())))
        return min(seconds * 1.5, PAUSE_LAST)

    def everyone(self, method: str) -> dict[str, Any]:
        """The answers of all. A solo pool answers between two tasks, so nodes that run may take until the deadline."""
        patient = {node["name"] for node in self.nodes if node["patient"]}
        answers: dict[str, Any] = {}
        pause = PAUSE_FIRST
        while True:
            silent = [name for name in self.asked() if name not in answers]
            answers.update(self.workers.ask(method, silent))
            silent = [name for name in silent if name not in answers]
            # In a check, some may be those that an earlier task would have started.
            if not silent or self.check:
                return answers
            if self.late() or not patient.issuperset(silent):
                raise self.nobody(silent)
            pause = self.pause(pause)

    def nobody(self, silent: list[str]) -> ScriptError:
        strangers = [node["name"] for node in self.nodes if node["name"] in silent and not node["patient"]]
        others = self.workers.everybody() if strangers else []
        return ScriptError("silent", "no answer from " + ", ".join(silent), nodes=silent, others=others)

    def consumed(self) -> dict[str, list[str]]:
        """Which queues each node consumes, when all have answered."""
        answers = self.everyone("active_queues")
        found = {name: sorted(queue["name"] for queue in queues or []) for name, queues in answers.items()}
        self.answer["nodes"] = {name: {"queues": queues} for name, queues in found.items()}
        return found

    def inspect(self) -> None:
        self.answer["nodes"] = self.workers.look(self.asked())
        strangers = [node["name"] for node in self.nodes if node["ask"] and not node["patient"]]
        if any(name not in self.answer["nodes"] for name in strangers):
            self.answer["others"] = self.workers.everybody()

    # --- consumers

    def cancel_consumers(self) -> None:
        wanted = self.request["queues"]
        pending = sorted(
            (queue, name)
            for name, queues in self.consumed().items()
            for queue in queues
            if not wanted or queue in wanted
        )
        minimum = int(self.request["minimum"])
        if self.check:
            self.answer["short"] = self.shortages(pending, minimum)
            self.book(pending)
        elif minimum:
            self.cancel_guarded(pending, minimum)
        else:
            for queue in sorted({queue for queue, _node in pending}):
                of_queue = [pair for pair in pending if pair[0] == queue]
                self.workers.tell("cancel_consumer", [node for _queue, node in of_queue], {"queue": queue})
                self.book(self.pairs() + of_queue)
            self.settled(pending, present=False)

    def shortages(self, pending: list[tuple[str, str]], minimum: int) -> list[dict[str, Any]]:
        """The queues that would have too few consumers without the pending ones."""
        if not minimum:
            return []
        found = []
        for queue in sorted({queue for queue, _node in pending}):
            count = self.workers.consumers(queue)
            ours = len([pair for pair in pending if pair[0] == queue])
            if count - ours < minimum:
                found.append({"queue": queue, "consumers": count, "ours": ours, "minimum": minimum})
        return found

    def cancel_guarded(self, pending: list[tuple[str, str]], minimum: int) -> None:
        """One consumer at a time, each after a look at what the broker counts.

        Two runs may look at the same moment: what was cancelled is counted again, and given back where it is needed.
        """
        done: list[tuple[str, str]] = []
        pause = PAUSE_FIRST
        try:
            while True:
                needed = [pair for pair in done if self.workers.consumers(pair[0]) < minimum]
                if needed:
                    self.give_back(needed)
                    done = [pair for pair in done if pair not in needed]
                    pending = sorted(pending + needed)
                    self.book(done)
                short = self.shortages(pending, minimum)
                self.answer["short"] = short
                if short:
                    if self.late():
                        raise ScriptError("short", "too few consumers would be left")
                    pause = self.pause(pause)
                elif pending:
                    queue, node = pending.pop(0)
                    # Before it is told: one that does not confirm may do it all the same.
                    done.append((queue, node))
                    self.workers.tell("cancel_consumer", [node], {"queue": queue})
                    self.book(done)
                    self.settled([(queue, node)], present=False)
                    pause = PAUSE_FIRST
                else:
                    return
        except Exception:
            # Half a drain helps nobody: the node goes on as it was.
            self.give_back(done)
            self.book([])
            raise

    def give_back(self, pairs: list[tuple[str, str]]) -> None:
        for queue, node in pairs:
            self.workers.tell("add_consumer", [node], self.workers.declaration(queue))
        self.settled(pairs, present=True)

    def settled(self, pairs: list[tuple[str, str]], present: bool) -> None:
        """Workers confirm before they act: wait until they have."""
        ends = time.monotonic() + max(self.workers.timeout, 5.0)
        names = sorted({node for _queue, node in pairs})
        while names:
            seen = self.workers.queues(names)
            for name, queues in seen.items():
                self.answer["nodes"].setdefault(name, {})["queues"] = queues
            left = [pair for pair in pairs if pair[1] not in seen or (pair[0] in seen[pair[1]]) != present]
            if not left:
                return
            if time.monotonic() >= ends:
                what = "does not consume" if present else "still consumes"
                text = "; ".join(f"{node} {what} {queue}" for queue, node in left)
                raise ScriptError("worker", text + ", though it confirmed")
            time.sleep(PAUSE_FIRST)

    def add_consumers(self) -> None:
        wanted = {node["name"]: node["queues"] or self.request["queues"] for node in self.nodes}
        pairs = sorted(
            (queue, name) for name, queues in self.consumed().items() for queue in wanted[name] if queue not in queues
        )
        declarations = {queue: self.workers.declaration(queue) for queue, _node in pairs}
        if self.check:
            self.book(pairs)
            return
        for queue, arguments in declarations.items():
            of_queue = [pair for pair in pairs if pair[0] == queue]
            self.workers.tell("add_consumer", [node for _queue, node in of_queue], arguments)
            self.book(self.pairs() + of_queue)
        self.settled(pairs, present=True)

    # --- tasks

    def wait_idle(self) -> None:
        pause = PAUSE_FIRST
        first = True
        while True:
            seen = self.workers.look(self.asked())
            self.answer["nodes"] = seen
            strangers = [node["name"] for node in self.nodes if node["ask"] and not node["patient"]]
            unknown = [name for name in strangers if name not in seen]
            if first and unknown and not self.check:
                raise self.nobody(unknown)
            first = False
            self.answer["remaining"] = self.remaining(seen)
            self.answer["waited"] = round(time.monotonic() - self.started, 1)
            if not self.answer["remaining"] or self.check or self.late():
                return
            pause = self.pause(pause)

    def remaining(self, seen: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for node in self.nodes:
            name = node["name"]
            if name in seen:
                rows.extend({"node": name, "state": "consuming", "name": queue} for queue in seen[name]["queues"])
                for state in ("active", "reserved", "scheduled"):
                    rows.extend({"node": name, "state": state, **task} for task in seen[name][state]["tasks"])
            elif node["ask"]:
                rows.append({"node": name, "state": "silent"})
            elif node["pid"] and Path(f"/proc/{node['pid']}").exists():
                # In a warm shutdown it does not answer. It is done when its process is gone.
                rows.append({"node": name, "state": "stopping"})
        return rows

    def revoke(self) -> None:
        ids = self.request["task_ids"]
        known = self.everyone("revoked")
        self.answer["nodes"] = {name: {} for name in known}
        active = self.workers.ask("active", list(known), safe=True)
        rows = []
        for name in sorted(known):
            running = {task["id"] for task in active.get(name) or []}
            for task_id in ids:
                end = bool(self.request["terminate"]) and task_id in running
                if task_id not in known[name] or end:
                    rows.append({"node": name, "id": task_id, "running": task_id in running, "terminated": end})
        names = sorted({row["node"] for row in rows})
        if names and not self.check:
            arguments = {"task_id": ids, "terminate": bool(self.request["terminate"]), "signal": self.request["signal"]}
            self.workers.tell("revoke", names, arguments)
        self.answer["changes"] = rows


def main(request: dict[str, Any]) -> None:
    # Applications print while they are imported, some from C: only our lines may reach the real standard output.
    document = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def write(answer: dict[str, Any]) -> None:
        document.write(MARKER + json.dumps(answer) + "\n")
        document.flush()

    try:
        # In the main thread, because some applications install signal handlers.
        app = importlib.import_module("celery_agent").app
        app.finalize()
    except BaseException as error:  # an application may call sys.exit()
        fault = import_fault(error)
        write({"error": {"kind": fault.kind, "text": str(fault)}})
        os._exit(0)
    write({"imported": True})
    job = Job(request)
    # A thread, so that a broker that never answers cannot keep the answer back.
    worker = threading.Thread(target=job.run, args=(app,), daemon=True)
    worker.start()
    worker.join(float(request["budget"]))
    answer = dict(job.answer)
    if not answer.pop("done", False):
        answer["error"] = {"kind": "stuck", "text": f"no end after {request['budget']:g} s"}
    write(answer)
    # Threads and exit handlers of the application have no say in when we are done.
    os._exit(0)
