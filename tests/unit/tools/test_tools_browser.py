"""The browser of the tests, as far as it is argument lists, messages and clean-up: no Chromium is started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import browser
import common
from devtools import BrowserError, Login, Page, Wire

Reply = Callable[[dict[str, Any]], list[dict[str, Any]]]


@pytest.mark.parametrize(
    ("addresses", "rules"),
    [
        ({"core1": "10.0.0.2"}, "MAP core1 10.0.0.2"),
        ({"b": "10.0.0.3", "a": "fd00::2"}, "MAP a [fd00::2],MAP b 10.0.0.3"),
        ({}, ""),
    ],
)
def test_names_are_mapped_to_addresses(addresses: dict[str, str], rules: str) -> None:
    assert browser.resolver_rules(addresses) == rules
    argv = browser.arguments("chromium", Path("/home"), addresses)
    assert [part for part in argv if part.startswith("--host-resolver-rules")] == (
        [f"--host-resolver-rules={rules}"] if rules else []
    )


@pytest.mark.parametrize(("uid", "is_sandboxed"), [(0, False), (1000, True)])
def test_only_root_goes_without_the_sandbox(monkeypatch: pytest.MonkeyPatch, uid: int, is_sandboxed: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    argv = browser.arguments("chromium", Path("/tmp/home"), {})
    assert ("--no-sandbox" not in argv) is is_sandboxed
    assert "--user-data-dir=/tmp/home/profile" in argv


def test_the_users_own_home_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/me/.config")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus")
    found = browser.environment(tmp_path)
    assert found["HOME"] == str(tmp_path)
    assert found["TMPDIR"].startswith(str(tmp_path))
    assert [key for key in found if key.startswith(("XDG_", "DBUS_"))] == []


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Chromium."""
    monkeypatch.setattr(common, "CACHE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)


@pytest.mark.usefixtures("bare")
def test_without_root_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(common.UserError) as caught:
        browser.ensure()
    assert "sudo apt-get install chromium libnss3-tools" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("bare")
def test_elsewhere_than_on_debian_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(common.UserError, match=r"install chromium libnss3-tools .* your distribution's equivalent"):
        browser.ensure()


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("missing", ["chromium", "certutil"])
def test_root_installs_what_is_missing(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    there = {"chromium", "certutil"} - {missing}
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)

    def install(packages: tuple[str, ...], purpose: str) -> None:
        assert "Chromium" in purpose
        assert {"chromium", "libnss3-tools"} <= set(packages)
        there.add(missing)

    monkeypatch.setattr(browser, "apt_install", install)
    assert browser.ensure() == "/usr/bin/chromium"
    assert missing in there


@pytest.mark.usefixtures("bare")
def test_what_is_not_found_after_the_installation_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "apt_install", lambda _packages, purpose: None)
    with pytest.raises(common.UserError, match="is not found: put one of chromium"):
        browser.ensure()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in Linux's /proc")
def test_what_runs_with_a_home_or_in_a_session_is_found_and_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(browser, "END_SECONDS", 0.2)
    script = "trap '' HUP TERM; env -i sleep 60 & sleep 60 & wait"
    environment = {**os.environ, "HOME": str(tmp_path)}
    other = subprocess.Popen(["sleep", "60"], env=environment)
    with subprocess.Popen(["sh", "-c", script], env=environment, start_new_session=True) as process:
        while len(found := browser.processes(tmp_path, process.pid)) < 4:
            pass
        assert {process.pid, other.pid} < set(found)
        assert os.getpid() not in found
        browser.end(process, tmp_path)
    other.wait()
    assert browser.processes(tmp_path, process.pid) == []


class Peer:
    """The browser's end of the pipes."""

    def __init__(self) -> None:
        commands, ours = os.pipe()
        theirs, messages = os.pipe()
        self.commands, self.messages = os.fdopen(commands, "rb"), os.fdopen(messages, "wb")
        self.wire = Wire(os.fdopen(ours, "wb"), os.fdopen(theirs, "rb"))
        self.heard: list[dict[str, Any]] = []
        self.thread: threading.Thread | None = None

    def say(self, message: dict[str, Any]) -> None:
        self.messages.write(json.dumps(message).encode() + b"\0")
        self.messages.flush()

    def answer(self, reply: Reply) -> None:
        """reply: command -> what is said to it, in this order."""

        def run() -> None:
            rest = b""
            while new := os.read(self.commands.fileno(), 65536):
                *complete, rest = (rest + new).split(b"\0")
                for text in complete:
                    self.heard.append(json.loads(text))
                    for message in reply(self.heard[-1]):
                        self.say(message)
            self.messages.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def close(self) -> None:
        self.wire.close()
        if self.thread:
            self.thread.join()
        self.commands.close()
        self.messages.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    found = Peer()
    yield found
    found.close()


def chromium(events: dict[str, list[dict[str, Any]]], results: dict[str, dict[str, Any]]) -> Reply:
    """A browser with one page, whose events come right before the answer to a command."""
    known = {
        "Target.createBrowserContext": {"browserContextId": "c"},
        "Target.createTarget": {"targetId": "t"},
        "Target.attachToTarget": {"sessionId": "s"},
        **results,
    }

    def reply(command: dict[str, Any]) -> list[dict[str, Any]]:
        found = [{"sessionId": "s", **event} for event in events.get(command["method"], [])]
        return [*found, {"id": command["id"], "result": known.get(command["method"], {})}]

    return reply


def of(peer: Peer, method: str) -> list[dict[str, Any]]:
    return [message["params"] for message in peer.heard if message["method"] == method]


def test_a_refused_command_is_an_error(peer: Peer) -> None:
    peer.answer(lambda command: [{"id": command["id"], "error": {"message": "no such thing"}}])
    with pytest.raises(BrowserError, match=r"X\.y: no such thing"):
        peer.wire.call("X.y")


def test_a_browser_that_is_silent_or_gone_is_an_error(peer: Peer) -> None:
    with pytest.raises(BrowserError, match=r"X\.y: no answer within 0 s"):
        peer.wire.call("X.y", seconds=0.05)
    peer.messages.close()
    with pytest.raises(BrowserError, match="the browser has ended"):
        peer.wire.call("X.y")


def test_the_pipes_of_a_browser_that_is_gone_are_closed(peer: Peer) -> None:
    peer.commands.close()
    for _attempt in range(2):
        with pytest.raises(BrowserError, match="the browser is gone"):
            peer.wire.call("X.y")
    peer.wire.close()
    assert peer.wire.commands.closed and peer.wire.messages.closed


def test_an_answer_of_several_parts_is_put_together(peer: Peer) -> None:
    text = json.dumps({"id": 1, "result": {"value": "x" * 10}}).encode() + b"\0"

    def reply(_command: dict[str, Any]) -> list[dict[str, Any]]:
        for part in (text[:9], text[9:]):
            peer.messages.write(part)
            peer.messages.flush()
        return []

    peer.answer(reply)
    assert peer.wire.call("X.y") == {"value": "x" * 10}


def test_a_page_tells_its_status_and_what_was_refused(peer: Peer) -> None:
    def event(number: str, status: int, url: str) -> dict[str, Any]:
        response = {"requestId": number, "response": {"status": status, "url": url}}
        return {"method": "Network.responseReceived", "params": response}

    events = [event("l", 200, "https://a/"), event("2", 404, "https://a/b"), {"method": "Page.loadEventFired"}]
    peer.answer(chromium({"Page.navigate": events}, {"Page.navigate": {"loaderId": "l"}}))
    page = Page(peer.wire)
    assert page.open("https://a/") == (200, "")
    assert page.refused == [(404, "https://a/b")]
    assert of(peer, "Fetch.enable") == []


def test_a_certificate_error_is_the_answer(peer: Peer) -> None:
    found = {"loaderId": "l", "errorText": "net::ERR_CERT_AUTHORITY_INVALID"}
    peer.answer(chromium({}, {"Page.navigate": found}))
    assert Page(peer.wire).open("https://a/") == (0, "net::ERR_CERT_AUTHORITY_INVALID")


def test_the_login_is_given_once(peer: Peer) -> None:
    asked = {"method": "Fetch.authRequired", "params": {"requestId": "r"}}
    events = [asked, asked, {"method": "Page.loadEventFired"}]
    peer.answer(chromium({"Page.navigate": events}, {"Page.navigate": {"loaderId": "l"}}))
    page = Page(peer.wire, Login("admin", "secret"))
    page.open("https://a/")
    # Commands are heard in their order: before the answer to this one, all others were.
    page.size(1, 1)
    given = [params["authChallengeResponse"] for params in of(peer, "Fetch.continueWithAuth")]
    assert given == [
        {"response": "ProvideCredentials", "username": "admin", "password": "secret"},
        {"response": "CancelAuth"},
    ]
