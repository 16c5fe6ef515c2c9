"""A page of a browser, spoken to over the two pipes of Chromium's `--remote-debugging-pipe`. Standard library only."""

from __future__ import annotations

import base64
import json
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

PATIENCE = 60.0
# A window in which pages show all that they have for a large screen.
WINDOW = (1280, 900)
# What the loop of a waiting test leaves between two looks at the page.
EVERY = 0.25


class BrowserError(Exception):
    """The browser did not do what it was asked, or is gone."""


class Login(NamedTuple):
    """What is answered to a server that asks for a user and a password. Never part of a URL or an argument list."""

    user: str
    password: str


class Answer(NamedTuple):
    """What opening an address came to: a status, or the browser's own reason for showing nothing of it."""

    status: int
    error: str


class Wire:
    """Messages in JSON, each ended by a NUL; answers carry the number of their command, events carry none."""

    def __init__(self, commands: IO[bytes], messages: IO[bytes]) -> None:
        self.commands = commands
        self.messages = messages
        self.number = 0
        self.rest = b""
        self.answers: dict[int, dict[str, Any]] = {}
        self.listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(messages, selectors.EVENT_READ)

    def send(self, method: str, session: str = "", **params: Any) -> int:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        try:
            self.commands.write(json.dumps(message).encode() + b"\0")
            self.commands.flush()
        except OSError as gone:
            raise BrowserError(f"{method}: the browser is gone") from gone
        return self.number

    def call(self, method: str, session: str = "", seconds: float = PATIENCE, **params: Any) -> dict[str, Any]:
        """The result of a command."""
        number = self.send(method, session, **params)
        self.answers[number] = {}
        try:
            self.until(lambda: bool(self.answers[number]), seconds, method)
        finally:
            answer = self.answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message', answer['error'])}")
        return dict(answer.get("result", {}))

    def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrowserError(f"{what}: no answer within {seconds:.0f} s")
            self.listen(left)

    def listen(self, seconds: float) -> None:
        """Wait until something arrives, at most so long, and give it to whom it belongs."""
        if not self.selector.select(seconds):
            return
        new = os.read(self.messages.fileno(), 1 << 20)
        if not new:
            raise BrowserError("the browser has ended")
        *complete, self.rest = (self.rest + new).split(b"\0")
        for text in complete:
            self.give(json.loads(text))

    def give(self, message: dict[str, Any]) -> None:
        if "id" in message:
            # Nobody waits for the answer to a `send`.
            if message["id"] in self.answers:
                self.answers[message["id"]] = message
        elif listener := self.listeners.get(message.get("sessionId", "")):
            listener(message["method"], message.get("params", {}))

    def close(self) -> None:
        self.selector.close()
        for pipe in (self.commands, self.messages):
            # What could not be written to a browser that is gone is not written now either.
            with suppress(OSError):
                pipe.close()


class Page:
    """One page, with cookies and passwords of its own."""

    def __init__(self, wire: Wire, login: Login | None = None) -> None:
        self.wire = wire
        self.login = login
        # Every address that the page asked for, and what was not delivered: (status, or 0, and address or reason).
        self.requested: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self._challenged: set[str] = set()
        self._statuses: dict[str, int] = {}
        self._loaded = False
        context = wire.call("Target.createBrowserContext", disposeOnDetach=True)["browserContextId"]
        target = wire.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self.session = str(wire.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        wire.listeners[self.session] = self._hear
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        if login:
            self.call("Fetch.enable", handleAuthRequests=True)
        self.size(*WINDOW)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.wire.call(method, self.session, **params)

    def _hear(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Network.responseReceived":
                response = params["response"]
                self._statuses[params["requestId"]] = response["status"]
                if response["status"] >= 400:
                    self.refused.append((response["status"], response["url"]))
            case "Network.loadingFailed":
                self.refused.append((0, params["errorText"]))
            case "Fetch.requestPaused":
                self.wire.send("Fetch.continueRequest", self.session, requestId=params["requestId"])
            case "Fetch.authRequired":
                self._answer(params["requestId"])

    def _answer(self, request: str) -> None:
        """The login, once: who is asked again was not let in."""
        if self.login and request not in self._challenged:
            self._challenged.add(request)
            answer = {"response": "ProvideCredentials", "username": self.login.user, "password": self.login.password}
        else:
            answer = {"response": "CancelAuth"}
        self.wire.send("Fetch.continueWithAuth", self.session, requestId=request, authChallengeResponse=answer)

    def open(self, url: str, seconds: float = PATIENCE) -> Answer:
        """Go to an address and wait until it is loaded; status 0: nothing came, or not over HTTP."""
        self._loaded = False
        found = self.call("Page.navigate", url=url)
        loader, error = found.get("loaderId", ""), found.get("errorText", "")
        if not error:
            self.wire.until(lambda: self._loaded, seconds, url)
        return Answer(self._statuses.get(loader, 0), error)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if problem := found.get("exceptionDetails"):
            raise BrowserError(f"{expression}: {problem.get('exception', problem).get('description', problem)}")
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = PATIENCE) -> Any:
        """The first true value of the expression, or its last value when the deadline has passed."""
        deadline = time.monotonic() + seconds
        while True:
            is_last = time.monotonic() >= deadline
            try:
                value = self.evaluate(expression)
            except BrowserError:
                # Between two pages there is nothing to ask.
                if is_last:
                    raise
            else:
                if value or is_last:
                    return value
            self.rest(EVERY)

    def rest(self, seconds: float) -> None:
        """Wait; what the page asks for meanwhile goes on."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.wire.listen(left)

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def click(self, selector: str) -> None:
        """Press the left button of the mouse on an element."""
        place = self.evaluate(
            f"(found => {{ if (!found) return null; found.scrollIntoView({{block: 'center'}});"
            " const box = found.getBoundingClientRect(); if (!box.width || !box.height) return null;"
            " return {x: box.x + box.width / 2, y: box.y + box.height / 2} })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        if not place:
            raise BrowserError(f"there is no {selector} on the page, or it is not shown")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def size(self, width: int, height: int) -> None:
        """The window in which the page is shown."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def height(self) -> int:
        """What the whole page takes in the present width."""
        return int(self.call("Page.getLayoutMetrics")["cssContentSize"]["height"])

    def picture(self, file: Path) -> None:
        """Write what the window shows as a PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
