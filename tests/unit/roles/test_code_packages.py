"""Packages from a private index: uv, as the role calls it, against an index that asks who is there."""

from __future__ import annotations

import base64
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

CODE = Path(__file__).resolve().parents[3] / "roles/code"
#: Every kind of character that is allowed.
PASSWORD = "s3cret!$%&()*+,-./:;<=>?@[]^_`{|}~"
BACKEND = """
import zipfile, helper
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(directory + "/" + name, "w") as wheel:
        wheel.writestr("demo.py", "BUILT_WITH = %r" % helper.VERSION)
        wheel.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n")
        wheel.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("demo-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = '[build-system]\nrequires = ["helper"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def helper(version: str) -> bytes:
    buffer = io.BytesIO()
    about = f"helper-{version}.dist-info"
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("helper.py", f"VERSION = {version!r}")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: helper\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return buffer.getvalue()


def demo() -> bytes:
    buffer = io.BytesIO()
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "pyproject.toml": PROJECT + '[project]\nname = "demo"\nversion = "1.0"\n',
        "backend.py": BACKEND,
    }
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"demo-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    files = {f"helper-{v}-py3-none-any.whl": helper(v) for v in ("1.0", "2.0")} | {"demo-1.0.tar.gz": demo()}
    wanted = "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").rpartition("/")[2]
            links = "".join(f'<a href="/files/{file}">{file}</a>' for file in files if file.startswith(f"{name}-"))
            body = files.get(name) or links.encode()
            allowed = self.headers.get("Authorization") == wanted
            self.send_response(200 if allowed else 401)
            if not allowed:
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Type", "application/octet-stream" if name in files else "text/html")
            self.send_header("Content-Length", str(len(body) if allowed else 0))
            self.end_headers()
            if allowed and self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()


def trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def role(root: Path, name: str, **variables: Any) -> Any:
    """A variable of the role, as it is computed on a host."""
    known = yaml.safe_load((CODE / "defaults/main.yml").read_text()) | yaml.safe_load(
        (CODE / "vars/main.yml").read_text()
    )
    variables = {"celery_root": str(root), "__code_directory": str(root / "release")} | variables
    return Templar(loader=DataLoader(), variables={**trusted(known), **variables}).template(trusted(known[name]))


def install(root: Path, url: str, *, login: bool, constraints: list[str]) -> subprocess.CompletedProcess[str]:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert uv, "uv is not there: make setup installs it"
    (root / "release").mkdir()
    (root / "cache").mkdir()
    variables = {"code_index_url": url}
    if login:
        variables |= {"code_index_username": "reader", "code_index_password": PASSWORD}
        Path(role(root, "__code_index_login_file", **variables)).write_text(
            role(root, "__code_index_login", **variables) + "\n"
        )
    # As the module release_make gives them.
    bound = [f"--build-constraints={root / 'constraints.txt'}"] if constraints else []
    (root / "constraints.txt").write_text("\n".join(constraints) + "\n")
    environment = role(root, "__code_index_environment", **variables)
    assert all(PASSWORD not in str(value) for value in environment.values())
    return subprocess.run(
        [uv, "pip", "install", "--quiet", f"--python={sys.executable}", f"--target={root / 'here'}", *bound, "demo"],
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("constraints", "version"), [([], "2.0"), (["helper<2"], "1.0")])
def test_the_login_and_the_constraints_reach_uv(
    index: str, tmp_path: Path, constraints: list[str], version: str
) -> None:
    done = install(tmp_path, index, login=True, constraints=constraints)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here/demo.py").read_text() == f"BUILT_WITH = '{version}'"


def test_without_the_login_nothing_is_installed(index: str, tmp_path: Path) -> None:
    done = install(tmp_path, index, login=False, constraints=[])
    assert done.returncode and "401" in done.stderr and not (tmp_path / "here/demo.py").exists()


def test_constraints_that_nothing_fits(index: str, tmp_path: Path) -> None:
    done = install(tmp_path, index, login=True, constraints=["helper>2"])
    assert done.returncode and "helper" in done.stderr and PASSWORD not in done.stderr


def test_pip_reads_the_same_file(index: str, tmp_path: Path) -> None:
    """uv itself is installed by pip."""
    login = tmp_path / "login"
    given = {"code_index_url": index, "code_index_username": "reader", "code_index_password": PASSWORD}
    login.write_text(role(tmp_path, "__code_index_login", **given) + "\n")
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps", "--no-cache-dir", "helper"]
    environment = {"PATH": os.environ["PATH"], "PIP_INDEX_URL": index, "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)}
    for more, code in (({"NETRC": str(login)}, 0), ({}, 1)):
        done = subprocess.run(
            [*command, f"--dest={tmp_path / 'here'}"], env={**environment, **more}, capture_output=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert (tmp_path / "here/helper-2.0-py3-none-any.whl").exists() == (code == 0)
        shutil.rmtree(tmp_path / "here", ignore_errors=True)


def test_what_an_environment_is_made_of_reaches_the_module(tmp_path: Path) -> None:
    given = {
        "code_python": "/usr/bin/python3.12",
        "code_identity": {"way": "lock", "requirements": "uv.lock"},
        "code_extra_packages": ["flower==2.2.0"],
        "code_build_constraints": ["setuptools<80"],
        "code_index_url": "https://packages.example.org/simple",
        "code_environment_edition": "2026-11-22",
    }
    assert role(tmp_path, "__code_package_lists", **given) == {
        "python": "/usr/bin/python3.12",
        "way": "lock",
        "requirements": "uv.lock",
        "extra": ["flower==2.2.0"],
        "constraints": ["setuptools<80"],
        "index_url": "https://packages.example.org/simple",
        "edition": "2026-11-22",
    }
    # Another edition is another release as well, or nothing would be made for it.
    inputs = next(
        task["vars"]["__code_inputs"]
        for task in yaml.safe_load((CODE / "tasks/identify.yml").read_text())
        if task["name"] == "Name the release"
    )
    assert inputs["edition"] == "{{ code_environment_edition }}"


def test_packages_are_copied_from_the_cache(tmp_path: Path) -> None:
    assert role(tmp_path, "__code_index_environment", code_index_url="")["UV_LINK_MODE"] == "copy"
