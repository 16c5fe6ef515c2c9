"""One site of nginx: served when nginx takes it, and what was served before goes on when not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.nginx_site import (
    Nginx,
    Ran,
    SiteError,
    absent,
    present,
)

MASTER = 100


class Host:
    """An nginx that refuses files with the word broken, and keeps its processes then."""

    def __init__(self, folder: Path) -> None:
        self.sites = folder / "conf.d"
        self.sites.mkdir()
        self.proc = folder / "proc"
        self.active = self.enabled = True
        self.follows = True
        self.calls: list[str] = []
        self.workers = 0
        self.proc.mkdir()
        (self.proc / "uptime").write_text("5000.00 1.00\n")
        self.started(age=1000)

    def started(self, age: float) -> None:
        """New processes, which began so many seconds ago."""
        self.workers += 1
        folder = self.proc / str(MASTER + self.workers)
        folder.mkdir()
        ticks = int((5000 - age) * os.sysconf("SC_CLK_TCK"))
        fields = ["S", str(MASTER), *["0"] * 17, str(ticks), "0"]
        (folder / "stat").write_text(f"{folder.name} (nginx: (w) x) {' '.join(fields)}\n")

    def run(self, command: list[str]) -> Ran:
        self.calls.append(" ".join(command))
        verb = command[1]
        if verb == "-t":
            bad = [path for path in self.sites.glob("*.conf") if "broken" in path.read_text()]
            return (1, "", f"nginx: [emerg] unknown directive in {bad[0]}:1\n") if bad else (0, "", "")
        if verb == "show":
            state, enabled = "active" if self.active else "inactive", "enabled" if self.enabled else "disabled"
            return 0, f"MainPID={MASTER if self.active else 0}\nActiveState={state}\nUnitFileState={enabled}\n", ""
        if verb == "start":
            self.active = True
        if verb == "enable":
            self.enabled = True
        if verb == "reload" and self.follows:
            self.started(age=-1)
        return 0, "", ""

    @property
    def verbs(self) -> list[str]:
        return [call.split()[1] for call in self.calls if call.split()[1] not in ("-t", "show")]

    def nginx(self, binary: str = "nginx") -> Nginx:
        return Nginx(self.run, binary, "nginx.service", self.proc, patience=0.3)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def site(host: Host) -> Path:
    return host.sites / "shop-flower.conf"


def test_a_site_comes_and_is_loaded_once(host: Host, site: Path) -> None:
    assert present(host.nginx(), site, "one", [], check=True) is True
    assert not site.exists() and host.verbs == []
    assert present(host.nginx(), site, "one", [], check=False) is True
    assert site.read_text() == "one" and host.verbs == ["reload"]
    assert site.stat().st_mode & 0o777 == 0o644
    assert present(host.nginx(), site, "one", [], check=False) is False
    assert host.verbs == ["reload"] and [path.name for path in host.sites.iterdir()] == [site.name]


def test_nginx_is_started_and_enabled_never_restarted(host: Host, site: Path) -> None:
    host.active = host.enabled = False
    assert present(host.nginx(), site, "one", [], check=True) is True and host.verbs == []
    assert present(host.nginx(), site, "one", [], check=False) is True
    assert host.verbs == ["enable", "start"]


def test_a_renewed_certificate_is_loaded(host: Host, site: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    present(host.nginx(), site, "one", [str(certificate)], check=False)
    certificate.write_text("new")
    # What began before it was written has not read it.
    for folder in list(host.proc.iterdir()):
        if folder.name not in ("uptime", str(MASTER + 1)):
            (folder / "stat").unlink()
            folder.rmdir()
    assert present(host.nginx(), site, "one", [str(certificate)], check=True) is True
    assert present(host.nginx(), site, "one", [str(certificate)], check=False) is True
    assert host.verbs == ["reload", "reload"]
    assert present(host.nginx(), site, "one", [str(certificate)], check=False) is False


@pytest.mark.parametrize("before", [None, "one"])
def test_a_refused_site_is_not_put_in_place(host: Host, site: Path, before: str | None) -> None:
    if before:
        present(host.nginx(), site, before, [], check=False)
    verbs = list(host.verbs)
    with pytest.raises(SiteError, match=r"refuses the new .*unknown directive"):
        present(host.nginx(), site, "broken", [], check=False)
    assert (site.read_text() if site.exists() else None) == before
    assert host.verbs == verbs and len(list(host.sites.iterdir())) == (1 if before else 0)


def test_a_fault_of_somebody_else_is_named_and_nothing_changed(host: Host, site: Path) -> None:
    present(host.nginx(), site, "one", [], check=False)
    (host.sites / "theirs.conf").write_text("broken")
    with pytest.raises(SiteError, match=r"was not changed: .*theirs\.conf:1"):
        present(host.nginx(), site, "two", [], check=False)
    assert site.read_text() == "one" and host.verbs == ["reload"]


def test_a_reload_that_nginx_does_not_follow_fails(host: Host, site: Path) -> None:
    host.follows = False
    with pytest.raises(SiteError, match="did not take its configuration"):
        present(host.nginx(), site, "one", [], check=False)
    # So that nginx starts at the next boot, and the next run tries again.
    assert not site.exists()
    host.follows = True
    assert present(host.nginx(), site, "one", [], check=False) is True
    host.follows = False
    with pytest.raises(SiteError, match="did not take its configuration"):
        present(host.nginx(), site, "two", [], check=False)
    assert site.read_text() == "one"


def test_a_service_that_does_not_start_fails(host: Host, site: Path) -> None:
    host.active = False
    answer = host.run

    def run(command: list[str]) -> Ran:
        return (1, "", "Job failed\n") if command[1] == "start" else answer(command)

    nginx = Nginx(run, "nginx", "nginx.service", host.proc)
    with pytest.raises(SiteError, match=r"systemctl start nginx\.service failed: Job failed"):
        present(nginx, site, "one", [], check=False)


def test_without_nginx_a_check_predicts_and_a_run_refuses(host: Host, site: Path) -> None:
    assert present(host.nginx(""), site, "one", [], check=True) is True
    with pytest.raises(SiteError, match="not installed"):
        present(host.nginx(""), site, "one", [], check=False)


def test_a_site_goes(host: Host, site: Path) -> None:
    assert absent(host.nginx(), site, check=False) is False
    present(host.nginx(), site, "one", [], check=False)
    assert absent(host.nginx(), site, check=True) is True and site.exists()
    assert absent(host.nginx(), site, check=False) is True
    assert not site.exists() and host.verbs == ["reload", "reload"]


def test_a_site_stays_when_nginx_cannot_do_without(host: Host, site: Path) -> None:
    present(host.nginx(), site, "one", [], check=False)
    (host.sites / "theirs.conf").write_text("broken")
    with pytest.raises(SiteError, match="was put back"):
        absent(host.nginx(), site, check=False)
    assert site.read_text() == "one"
