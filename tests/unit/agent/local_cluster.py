"""A small cluster without a broker: Celery's filesystem transport, a file result backend, a fake systemd."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
AGENT = CHECKOUT / "roles" / "celery" / "files" / "celery_agent.py"
SCRIPT = CHECKOUT / "roles" / "verify" / "files" / "celery_canary.py"

# Another Celery, or another Python, may be tried with the same tests: it needs pytest only here.
PYTHON = os.environ.get("AGENT_TEST_PYTHON", sys.executable)

SHOP = """
import os
from celery import Celery

print("the shop says hello while it is imported")
root = os.environ["SHOP_ROOT"]
app = Celery("shop", broker="filesystem://", backend="file://" + root + "/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": root + "/broker",
        "data_folder_out": root + "/broker",
        "control_folder": root + "/control",
        "store_processed": False,
    },
    worker_hijack_root_logger=True,
)


@app.task(name="shop.pair")
def pair(a, b):
    return [a, b]
"""


class Systemd:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.lines: list[str] = []

    def receive(self, timeout: float) -> list[str]:
        self.sock.settimeout(timeout)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while True:
                self.lines += self.sock.recv(65536).decode().splitlines()
                self.sock.settimeout(0)
        return self.lines

    def wait_for(self, start: str, timeout: float = 20, process: subprocess.Popen | None = None) -> str:
        ends = time.monotonic() + timeout
        while True:
            for line in self.receive(0.1):
                if line.startswith(start):
                    return line
            if time.monotonic() > ends or (process is not None and process.poll() is not None):
                raise AssertionError(f"no {start} among {self.lines}")


def loader(folder: Path, patch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """What loads the agent with an application that it writes into this folder."""

    def load(source: str, settings: Any = None, **environment: str) -> ModuleType:
        name = f"application_{uuid.uuid4().hex}"
        (folder / f"{name}.py").write_text(source)
        patch.syspath_prepend(str(folder))
        patch.setenv("CELERY_AGENT_APP", f"{name}:app")
        if settings is not None:
            (folder / "settings.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
            patch.setenv("CELERY_AGENT_SETTINGS", str(folder / "settings.json"))
        for key, value in environment.items():
            patch.setenv(key, value)
        spec = importlib.util.spec_from_file_location("celery_agent", AGENT)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "celery_agent", module)
        spec.loader.exec_module(module)
        return module

    return load


class Cluster:
    """Real processes of one application."""

    def __init__(self, root: Path, source: str = SHOP, agent: Path = AGENT) -> None:
        self.root = root
        self.processes: list[subprocess.Popen] = []
        for name in ("broker", "control", "results", "code"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "code" / "shop.py").write_text(source)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "NOTIFY_", "WATCHDOG_", "SSL_"))}
        self.environment = {
            **kept,
            "PYTHONPATH": f"{agent.parent}:{root / 'code'}",
            # Whatever the caller wants: each of these processes would compile Celery again, which takes half its time.
            "PYTHONDONTWRITEBYTECODE": "",
            "SHOP_ROOT": str(root),
            "C_FORCE_ROOT": "1",
            "CELERY_AGENT_APP": "shop:app",
            "CELERY_AGENT_RELEASE": "4f2c",
        }

    def start(self, *arguments: str, log: str = "log", **environment: str) -> subprocess.Popen:
        with (self.root / log).open("ab") as stream:
            process = subprocess.Popen(
                [PYTHON, "-m", "celery", "-A", "celery_agent", *arguments],
                env={**self.environment, **environment},
                cwd=self.root,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def worker(self, host: str = "worker1", *arguments: str, **environment: str) -> subprocess.Popen:
        return self.start(
            "worker",
            "--pool=prefork",
            "--concurrency=1",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=INFO",
            "-n",
            f"default-4f2c@{host}",
            *arguments,
            log=f"{host}.log",
            CELERY_AGENT_ROLE="worker",
            CELERY_AGENT_WORKER="default",
            CELERY_AGENT_HOST=host,
            **environment,
        )

    def log(self, name: str = "worker1") -> str:
        path = self.root / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def python(self, code: str, **environment: str) -> str:
        done = subprocess.run(
            [PYTHON, "-c", code],
            env={**self.environment, "CELERY_AGENT_ROLE": "producer", **environment},
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def canary(self, request: dict[str, Any], **environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [PYTHON, str(SCRIPT)],
            env={
                **self.environment,
                "CELERY_AGENT_ROLE": "producer",
                "CELERY_AGENT_HOST": "app1",
                **environment,
            },
            cwd=self.root,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self) -> None:
        """At once, with the children: how a worker ends by itself is tested where that is the question."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
