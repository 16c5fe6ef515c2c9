"""Which test executes a command of the guide that molecule/operations/tests/test_guide.py does not execute itself.

Name of the command -> the file whose test looks it up in the guide (guide.playbook(…), guide.command(…)) and runs it.
A unit test compares this with the guide and with the files.
"""

from __future__ import annotations

_FIRST = "tests/unit/docs/test_guide_template.py"
_DEPLOY = "molecule/deploy/tests"
_BROKER = "molecule/broker_cluster/tests"

CLAIMS = {
    "copy the template": _FIRST,
    "show the cluster that would be": _FIRST,
    "make room for several files": _FIRST,
    "move the variables there": _FIRST,
    "write a secret": _FIRST,
    "encrypt it": _FIRST,
    "add a node": f"{_DEPLOY}/test_nodes.py",
    "remove a node": f"{_DEPLOY}/test_nodes.py",
    "drain a node": f"{_DEPLOY}/test_nodes.py",
    "put a node back": f"{_DEPLOY}/test_nodes.py",
    "deploy": f"{_DEPLOY}/test_releases.py",
    "roll back": f"{_DEPLOY}/test_releases.py",
    "roll back to a release": f"{_DEPLOY}/test_releases.py",
    "renew all certificates": f"{_BROKER}/test_stream.py",
    "renew the authority": f"{_BROKER}/test_stream.py",
    "upgrade the brokers": f"{_BROKER}/test_upgrade.py",
    "prove every link": "molecule/operations/tests/test_verify.py",
    "ask the workers of a host": "molecule/operations/tests/test_verify.py",
    "soak": "molecule/operations/tests/test_verify.py",
}
