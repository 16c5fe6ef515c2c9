"""Modules that lie on a container: many calls of one cost a start of Python each, and not one of Ansible."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import ansible
from ansible.release import __version__
from testing import PROJECT, container, script_on

PLACE = "/tmp/modules"
COLLECTION = "ansible_collections/taskfleet/celery_cluster/plugins"
# As AnsibleModule gets its arguments; what it prints last is its result.
CALL = """
import contextlib, importlib, io, json, sys
sys.path.insert(0, "{place}")
from ansible.module_utils.testing import patch_module_args
given = json.load(sys.stdin)
module = importlib.import_module("{package}.modules." + given["module"])
output = io.StringIO()
with patch_module_args(given["arguments"]), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
    module.main()
print(output.getvalue().strip().splitlines()[-1])
"""


def _is_code(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith((".pyc", "__pycache__")) else entry


class ModulesThere:
    """The modules of the collection on one container, with the part of Ansible that they need."""

    def __init__(self, name: str) -> None:
        self.name = name
        core, archive = Path(ansible.__file__).parent, io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            # As Ansible sends it along with a module: the real one would want all of Ansible.
            own = f"__version__, __author__ = {__version__!r}, ''\n".encode()
            entry = tarfile.TarInfo("ansible/__init__.py")
            entry.size = len(own)
            tar.addfile(entry, io.BytesIO(own))
            tar.add(core / "module_utils", "ansible/module_utils", filter=_is_code)
            for part in ("modules", "module_utils"):
                tar.add(PROJECT / "plugins" / part, f"{COLLECTION}/{part}", filter=_is_code)
        unpack = f"mkdir -p {PLACE} && tar -x -C {PLACE}"
        command = ["docker", "exec", "-i", container(name), "sh", "-c", unpack]
        subprocess.run(command, input=archive.getvalue(), check=True, capture_output=True)

    def __call__(self, module: str, arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
        source = CALL.format(place=PLACE, package=COLLECTION.replace("/", "."))
        options = {**arguments, "_ansible_check_mode": check}
        found: dict[str, Any] = script_on(self.name, source, {"module": module, "arguments": options})
        return found

    def remove(self) -> None:
        subprocess.run(["docker", "exec", container(self.name), "rm", "-rf", PLACE], check=True)
