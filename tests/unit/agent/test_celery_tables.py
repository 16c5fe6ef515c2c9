"""The script that makes the tables of results. With SQLAlchemy they are really made, in SQLite."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from local_cluster import AGENT

SCRIPT = AGENT.with_name("celery_tables.py")
OWNER = "CELERY_AGENT_OWNER_BACKEND"
APPLICATION = """
from celery import Celery
app = Celery("shop", broker="memory://", backend={backend!r})
app.conf.update({settings!r})
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("celery_tables", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # SQLite has neither, and does not need them.
    monkeypatch.setattr(module, "LOCK", "SELECT 1")
    monkeypatch.setattr(module, "PATIENCE", "SELECT 1")
    return module


@pytest.fixture
def sqlalchemy() -> Iterator[Any]:
    module = pytest.importorskip("sqlalchemy")
    yield module
    from celery.backends.database.models import Task, TaskSet

    # The names of the tables are the process's, not the application's.
    Task.configure()
    TaskSet.configure()


@pytest.fixture
def tried(
    script: ModuleType, load_agent: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What the script says for an application with this result backend."""

    def prepare(backend: str, owner: str | None, **settings: Any) -> str:
        monkeypatch.delenv(OWNER, raising=False)
        if owner is not None:
            monkeypatch.setenv(OWNER, owner)
        load_agent(APPLICATION.format(backend=backend, settings=settings))
        return str(script.prepare())

    return prepare


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"db+sqlite:///{tmp_path}/results.db"


def columns(sqlalchemy: Any, database: str, table: str) -> set[str]:
    engine = sqlalchemy.create_engine(database[3:])
    found = {column["name"] for column in sqlalchemy.inspect(engine).get_columns(table)}
    engine.dispose()
    return found


def execute(sqlalchemy: Any, database: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(database[3:])
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


# --- what is done -----------------------------------------------------------------------------------


def test_tables_are_made_once_and_take_results(
    script: ModuleType, tried: Callable[..., str], sqlalchemy: Any, database: str
) -> None:
    assert tried(database, database) == "made celery_taskmeta, celery_tasksetmeta"
    assert tried(database, database) == "nothing to do: celery_taskmeta and celery_tasksetmeta are there"
    app = sys.modules["celery_agent"].app
    app.backend.store_result("id", {"a": 1}, "SUCCESS")
    assert app.AsyncResult("id").get(timeout=5) == {"a": 1}


def test_the_names_are_those_of_the_application(tried: Callable[..., str], sqlalchemy: Any, database: str) -> None:
    names = {"task": "shop_results", "group": "shop_groups"}
    assert tried(database, database, database_table_names=names) == "made shop_groups, shop_results"
    assert "task_id" in columns(sqlalchemy, database, "shop_results")
    assert not sqlalchemy.inspect(sqlalchemy.create_engine(database[3:])).has_table("celery_taskmeta")


def test_a_table_that_was_lost_is_made_alone(tried: Callable[..., str], sqlalchemy: Any, database: str) -> None:
    tried(database, database)
    execute(sqlalchemy, database, "DROP TABLE celery_tasksetmeta")
    assert tried(database, database) == "made celery_tasksetmeta"


def test_columns_of_a_newer_celery_are_added_and_rows_stay(
    tried: Callable[..., str], sqlalchemy: Any, database: str
) -> None:
    statement = (
        "CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, task_id VARCHAR(155), status VARCHAR(50), more INT)"
    )
    execute(sqlalchemy, database, statement)
    execute(sqlalchemy, database, "INSERT INTO celery_taskmeta VALUES (1, 'old', 'SUCCESS', 7)")
    said = tried(database, database)
    assert said.startswith("made celery_tasksetmeta; added result, date_done, traceback, ")
    assert said.endswith(" to celery_taskmeta")
    present = columns(sqlalchemy, database, "celery_taskmeta")
    assert {"result", "children", "worker", "more"} <= present
    execute(sqlalchemy, database, "UPDATE celery_taskmeta SET more = 8 WHERE task_id = 'old' AND result IS NULL")
    assert tried(database, database).startswith("nothing to do")


def test_tables_are_not_made_by_the_backend_itself(
    tried: Callable[..., str], sqlalchemy: Any, database: str, tmp_path: Path
) -> None:
    """The application's login may have no right to it, and its attempt would take minutes."""
    elsewhere = f"db+sqlite:///{tmp_path}/other.db"
    said = tried(elsewhere, "db+postgresql+psycopg://owner:pw@localhost/shop", database_create_tables_at_setup=True)
    assert said == "nothing to do: the application's results go to another database, sqlite"
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("backend", ["cache+memory://", "disabled://", "rpc://"])
def test_other_backends_need_no_tables(tried: Callable[..., str], backend: str) -> None:
    assert tried(backend, None) == "nothing to do: the application's results go to no database backend of Celery"


# --- what is refused --------------------------------------------------------------------------------


def refused(script: ModuleType, call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(script.TablesError) as caught:
        call()
    return caught.value.code, str(caught.value)


def test_the_owner_has_to_be_named(
    script: ModuleType, tried: Callable[..., str], sqlalchemy: Any, database: str
) -> None:
    for owner in (None, " "):
        code, message = refused(script, lambda owner=owner: tried(database, owner))
        assert code == 2 and message.startswith(f"{OWNER} is not set: write there")


def test_a_password_is_not_told(script: ModuleType, tried: Callable[..., str], sqlalchemy: Any, database: str) -> None:
    code, message = refused(script, lambda: tried(database, "s3cret is no URL"))
    assert code == 2 and f"{OWNER} is no URL of a database" in message
    url = "db+postgresql+psycopg://owner:s3%40cret@db1.example/shop"
    error = SimpleNamespace(orig="login with s3@cret failed, and s3%40cret\n  too")
    assert script.readable(error, url) == "SimpleNamespace: login with *** failed, and *** too"
    assert "s3" not in script.readable(ValueError(f"cannot use {url}"))
    assert script.secrets("db+postgresql://owner@db1.example/shop") == set()


def test_a_driver_that_is_missing_is_named(script: ModuleType, sqlalchemy: Any) -> None:
    owner = script.parse("db+postgresql+pg8000://owner:pw@db1/shop", OWNER)
    if importlib.util.find_spec("pg8000"):
        pytest.skip("the driver is there")
    code, message = refused(script, lambda: script.make_as_owner(owner, None, "x"))
    assert code == 2
    assert "cannot connect to postgresql+pg8000: ModuleNotFoundError" in message and "celery_database_driver" in message


def test_the_database_says_why_it_refuses(script: ModuleType, sqlalchemy: Any, tmp_path: Path) -> None:
    owner = script.parse(f"sqlite:///{tmp_path}/missing/results.db", OWNER)
    code, message = refused(script, lambda: script.make_as_owner(owner, sqlalchemy.MetaData(), ""))
    assert code == 1
    assert message.startswith("the tables of results cannot be made as ") and "unable to open database file" in message
    assert "sqlalche.me" not in message


def test_an_application_that_cannot_be_imported(script: ModuleType, load_agent: Callable[..., ModuleType]) -> None:
    sys.modules.pop("celery_agent", None)
    code, message = refused(script, script.load_app)
    assert code == 2 and message.startswith("the application cannot be imported here: ")


# --- which database ---------------------------------------------------------------------------------


def url(host: str | None = "127.0.0.1", database: str = "shop", driver: str = "postgresql+psycopg") -> Any:
    return SimpleNamespace(drivername=driver, host=host, database=database, query={})


def url_of_hosts(hosts: Any) -> Any:
    return SimpleNamespace(drivername="postgresql+psycopg", host=None, database="shop", query={"host": hosts})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (url(), url(driver="postgresql"), True),
        (url("localhost"), url("127.0.0.1"), True),
        (url_of_hosts(("127.0.0.1", "192.0.2.1")), url(), True),
        (url_of_hosts("192.0.2.1,127.0.0.1"), url(), True),
        (url("no.such.name.invalid"), url("no.such.name.invalid"), True),
        (url(), url("192.0.2.1"), False),
        (url("no.such.name.invalid"), url(), False),
        (url(), url(database="other"), False),
        (url(), url(driver="mysql"), False),
    ],
)
def test_one_database_is_known_by_its_host_and_name(script: ModuleType, one: Any, other: Any, same: bool) -> None:
    assert script.same_database(one, other) is same
    assert script.same_database(other, one) is same


# --- as a command -----------------------------------------------------------------------------------


def run(tmp_path: Path, backend: str, **environment: str) -> subprocess.CompletedProcess[str]:
    source = "import os\nos.write(1, b'hello from C')\nprint('hello')\n" + APPLICATION.format(
        backend=backend, settings={}
    )
    (tmp_path / "shop.py").write_text(source)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    return subprocess.run(
        [sys.executable, "-m", "celery_tables"],
        env={**kept, "PYTHONPATH": f"{AGENT.parent}:{tmp_path}", "CELERY_AGENT_APP": "shop:app", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_only_one_line_reaches_standard_output(tmp_path: Path) -> None:
    done = run(tmp_path, "disabled://")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stdout.startswith("nothing to do: ")
    assert "hello" in done.stderr


def test_the_exit_code_tells_whose_fault_it_is(tmp_path: Path) -> None:
    done = run(tmp_path, "disabled://", CELERY_AGENT_APP="shop:nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "celery_tables: the application cannot be imported here: " in done.stderr
