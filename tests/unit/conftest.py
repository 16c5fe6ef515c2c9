"""Makes ansible_collections.taskfleet.celery_cluster importable from a plain checkout, and keeps $HOME out of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / ".collections"))

# The same examples in every run: a commit fails for what it changed. HYPOTHESIS_PROFILE=default looks further.
# Without a deadline: how long an example takes is the machine's business.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ansible, and a module that runs here as it runs on a host, would write into ~/.ansible."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # Nor do the many processes of the tests write __pycache__ into the checkout.
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield
