"""Whatever a role writes on a host is among what it says that it owns: drift of it must be seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
#: `path: X` and `dest: X` of tasks, and 'path': X of the entries that vars put together.
WRITES = re.compile(
    r"""(?:^|[\s{(,-])'?(?:path|dest)'?:\s+(.+?)(?=,\s*'?(?:state|parts|content|mode|group|owner|src)'?:|,?$|\}$|\}\))"""
)
#: Where a written path lies -> the expression in `__<role>_owned` that has it, or why it needs none.
CONTROLLER = "on the controller"
ONLY_LOOKED_AT = "is looked at or removed, not written"
OWNED: dict[str, str] = {
    r"(\{\{ )?__certificates_(authority|make_directory)|\{\{ celery_secrets_directory|\{\{ __code_key\b": CONTROLLER,
    r"\{\{ (status_html|status_json|verify_report)|\{\{ __code_source_path": CONTROLLER,
    r"\{\{ __(code_old|code_name|flower_path|postgresql_file|worker_path)\b|/usr/sbin/nginx$": ONLY_LOOKED_AT,
    r".*code_before\.current": ONLY_LOOKED_AT,
    r"path$": ONLY_LOOKED_AT,
    r"\{\{ __postgresql_old_dump": "dumps are the operator's, their directory is owned",
    r"\{\{ celery_agent_directory|(\{\{ )?__beat_launcher": "celery_agent_directory",
    r"(\{\{ )?celery_(config_directory|ca_file|trust_file)": "celery_config_directory",
    r"celery_database_(ca|service_file)$": "celery_config_directory",
    r"(\{\{ )?__(code_settings|worker_settings|certificates_identities)": "celery_config_directory",
    r"(\{\{ )?celery_tls_directory(?! \|)": "celery_tls_directory",
    r"\{\{ (celery_tls_directory \| dirname|__flower_nginx_mark \| dirname) \}\}$": "celery_tls_directory | dirname",
    r"__certificates_made|file\.(certificate|key)": "celery_tls_directory | dirname }}/made",
    r"\{\{ celery_(root|state_directory) \}\}$|\{\{ celery_root \}\}/cache$|directory$": "directories",
    r"\{\{ celery_root \}\}/bin|\{\{ celery_run": "celery_root }}/bin",
    r"\{\{ celery_root \}\}/ssh": "celery_root }}/ssh",
    r"\{\{ celery_root \}\}/releases|place ~ '/releases|\{\{ __code_(directory|setup_mark|build_constraints_file)": (
        "celery_root }}/releases"
    ),
    r"celery_root ~ '/current'": "celery_root }}/current",
    r"celery_root ~ '/previous'": "celery_root }}/previous",
    r"\{\{ __code_index_login_file": "__code_index_login_file",
    r"/etc/systemd/journald@": "/etc/systemd/journald@",
    r"/etc/systemd/system/\{\{ celery_name \}\}\.target$": "celery_name }}.target*",
    r"/usr/local/share/ca-certificates": "/usr/local/share/ca-certificates",
    r"\{\{ __beat_template": "celery_name }}-beat@*",
    r"\{\{ __beat_directory": "__beat_directory",
    r"/etc/systemd/system/\{\{ celery_name \}\}-flower@": "celery_name }}-flower@*",
    r"\{\{ __flower_directory \}\}$": "__flower_directory }}",
    r"\{\{ __flower_directory \}\}/tls": "__flower_directory }}/tls",
    r"\{\{ __flower_nginx_mark \}\}": "__flower_nginx_mark }}",
    r"\{\{ __flower_site": "__flower_site",
    r"/etc/nginx/sites-enabled/default": "/etc/nginx/sites-enabled/default",
    r"'/etc/systemd/system/' ~ celery_name ~ '-worker-": "celery_name }}-worker-*",
    r"celery_state_directory ~ '/worker-": "celery_state_directory ~ '/worker-'",
    r"\{\{ __postgresql_pooler_files": "__postgresql_pooler_files | dirname",
    r"\{\{ __postgresql_pooler_unit_directory": "__postgresql_pooler_unit_directory",
    r"\{\{ __postgresql_settings_file": "__postgresql_configuration",
    r"\{\{ __postgresql_userlist": "__postgresql_userlist",
    r"\{\{ postgresql_backup_directory": "postgresql_backup_directory",
    r"\{\{ postgresql_tls_directory": "postgresql_tls_directory",
    r"/etc/rabbitmq/": "/etc/rabbitmq",
    r"/etc/systemd/system/epmd\.socket\.d": "/etc/systemd/system/epmd.socket.d",
    r"/var/lib/rabbitmq/\.erlang\.cookie": "/var/lib/rabbitmq/.erlang.cookie",
    r"\{\{ __rabbitmq_limits": "__rabbitmq_limits",
    r"\{\{ rabbitmq_tls_directory": "rabbitmq_tls_directory",
}
NEEDS_NONE = (CONTROLLER, ONLY_LOOKED_AT)


def written() -> list[str]:
    found = set()
    for file in [*ROLES.glob("*/tasks/*.yml"), *ROLES.glob("*/vars/main.yml")]:
        for line in file.read_text().splitlines():
            if not line.lstrip().startswith("#"):
                found.update(f"{file.parts[-3]}: {match[1].strip().strip(chr(34))}" for match in WRITES.finditer(line))
    return sorted(found)


def owned() -> str:
    texts = []
    for file in sorted(ROLES.glob("*/vars/main.yml")):
        values = yaml.safe_load(file.read_text())
        texts += [str(value) for name, value in values.items() if name.endswith("_owned")]
    return "\n".join(texts)


def test_enough_is_found() -> None:
    assert len(written()) > 100
    assert "rabbitmq: /etc/rabbitmq/rabbitmq.conf" in written()
    assert "worker: celery_state_directory ~ '/worker-' ~ kind.key" in written()


@pytest.mark.parametrize("path", written())
def test_what_is_written_is_owned(path: str) -> None:
    expression = path.partition(": ")[2]
    places = [place for pattern, place in OWNED.items() if re.match(pattern, expression)]
    assert places, "say in `__<role>_owned` of vars/main.yml that the role owns it, and here where"


def test_what_stands_here_stands_in_the_roles() -> None:
    texts = owned()
    missing = [place for place in OWNED.values() if place not in NEEDS_NONE and " " not in place and place not in texts]
    assert missing == []


def test_no_pattern_is_left_over() -> None:
    expressions = [path.partition(": ")[2] for path in written()]
    unused = [pattern for pattern in OWNED if not any(re.match(pattern, expression) for expression in expressions)]
    assert unused == []


@pytest.mark.parametrize("scenario", sorted((ROLES.parent / "molecule").glob("*/inventory/hosts.yml")), ids=str)
def test_scenarios_go_the_full_way(scenario: Path) -> None:
    """Their second run proves that the roles change nothing, and not that nothing was looked at."""
    assert yaml.safe_load(scenario.read_text())["all"]["vars"]["celery_receipt_hours"] == 0
