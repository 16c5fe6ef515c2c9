# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who logs in to what: passwords that everybody knows, and names that one of the services cannot carry.

A password is never put into a problem, whatever is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .broker_users import SHORT_STRING, check_broker_login
from .databases import CERTIFICATE, has_one_role, login, owner_name
from .groups import NAME
from .model import Inventory
from .problems import Problems
from .text import environment_problems, service_problems

#: Variable of a password -> whose it is.
PASSWORDS = {
    "celery_broker_worker_password": "worker",
    "celery_broker_producer_password": "producer",
    "celery_broker_flower_password": "flower",
    "celery_broker_admin_password": "admin",
    "celery_database_password": "database",
    "celery_database_owner_password": "database_owner",
    "flower_password": "interface",
}
DATABASE_PASSWORDS = ("celery_database_password", "celery_database_owner_password")
#: A password shorter than the first is refused, one shorter than the second is doubtful.
LEAST_LENGTH, GOOD_LENGTH = 8, 12
#: What the secret lookup answers in check mode. Nothing is built with it.
IN_CHECK_MODE = "not-generated-in-check-mode"

#: Compared in lower case, letters and digits only.
_WELL_KNOWN = """
    0123456789 0987654321 12345 123456 1234567 12345678 123456789 1234567890 123123 123321 654321 abc123 abcd1234
    abcdefgh admin administrator adminadmin ansible broker celery celerypassword changeit changeme changemenow
    changeplease changethis database default demo dummy example examplepassword fixme flower foobar galaxy
    galaxyproject galaxypassword guest guestguest iloveyou insertpassword letmein login mypassword mysecret
    mysecretpassword none null pass pass123 passw0rd password password1 password123 passwordhere placeholder
    pleasechange pleasechangeme postgres postgresql postgrespassword putyourpasswordhere p4ssw0rd p4ssword qwerty
    qwerty123 qwertyuiop rabbit rabbitmq rabbitmqpassword replace replaceme replacethis root s3cr3t s3cret sample
    secret secret123 secretpassword security setme somepassword somesecret stack strongpassword supersecret
    superuser t0ps3cret tbd temp test test123 testing testpassword todo topsecret toor undefined user username
    vagrant verysecret welcome welcome1 worker yourpassword yourpasswordhere yoursecret yoursecurepassword
    yourstrongpassword
"""
WELL_KNOWN = frozenset(_WELL_KNOWN.split())
#: What templates and examples leave behind: <password>, {{ password }}, {% … %}, ${PASSWORD}, [password].
LEFTOVER = re.compile(
    r"<[^<>]*>|\{\{.*\}\}|\{%.*%\}|\$\{[^{}]*\}|\$\([^()]*\)|%\([^()]*\)s|\[[A-Za-z _-]*\]", re.DOTALL
)
#: An encrypted value that nobody decrypted.
VAULT = "$ANSIBLE_VAULT"
#: PostgreSQL takes such a password for the stored form of another one.
STORED_FORM = re.compile(r"md5[0-9a-f]{32}|SCRAM-SHA-256\$.*", re.DOTALL)

#: Unquoted in pg_hba.conf, and no longer than what PostgreSQL keeps of an identifier.
DATABASE_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
HBA_WORDS = frozenset({"all", "sameuser", "samerole", "samegroup", "replication"})
SYSTEM_ROLES = frozenset({"postgres", "public", "none", "current_user", "current_role", "session_user"})
SYSTEM_DATABASES = frozenset({"postgres", "template0", "template1"})
#: useradd of Debian 12 takes 32 characters, and the account that builds environments has -build after this name.
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,25}")
#: Accounts of Debian and of the services; the role would lock their password and change their home directory.
_SYSTEM_ACCOUNTS = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats _apt nobody messagebus
    sshd systemd-network systemd-resolve systemd-timesync epmd rabbitmq postgres redis mysql nginx
"""
SYSTEM_ACCOUNTS = frozenset(_SYSTEM_ACCOUNTS.split())
LONGEST_IDENTITY = "producer"

Check = Callable[[str], "tuple[str, str, str] | None"]


def check_identities(inventory: Inventory, problems: Problems) -> None:
    """Passwords are judged where the inventory sets them, names wherever they come from."""
    _check_passwords(inventory, problems)
    check_broker_login(inventory, problems)
    _check_database_login(inventory, problems)
    _check_names(inventory, problems)


def _check_names(inventory: Inventory, problems: Problems) -> None:
    name = inventory.settings.get("celery_name")
    # What is derived from a wrong name is wrong as well, and told with the name.
    wrong = set() if isinstance(name, str) and NAME.fullmatch(name) else {"celery_name"}
    settings = inventory.settings
    if "celery_database_user" in settings:
        settings = {"celery_database_owner": owner_name(settings), **settings}
    for variable, check in NAMES.items():
        source = "" if variable in inventory.own else DERIVED.get(variable, "celery_name")
        if variable not in settings or source in wrong:
            wrong |= {variable} if source else set()
            continue
        value = settings[variable]
        found = check(value) if isinstance(value, str) else ("CC610", f"is {value!r}", "write a text")
        if found is not None:
            code, what, instead = found
            wrong.add(variable)
            problems.add(code, variable, f"{what}, which comes from {source}" if source else what, instead)


# --------------------------------------------------------------------------------------------------
# Passwords


def _check_database_login(inventory: Inventory, problems: Problems) -> None:
    """Passwords of the database that nobody asks for."""
    user, owner = DATABASE_PASSWORDS
    if has_one_role(inventory.settings) and owner in inventory.own:
        why = f"celery_database_owner is celery_database_user, so that {user} is the password of both"
        problems.add("CC622", owner, f"is set, and {why}", "remove it")
    elif login(inventory.settings) == CERTIFICATE and user in inventory.own:
        why = "celery_database_login is certificate, so that this user has no password"
        problems.add("CC622", user, f"is set, and {why}", "remove it")


def _check_passwords(inventory: Inventory, problems: Problems) -> None:
    names = _known_names(inventory.settings)
    owner: dict[str, str] = {}
    # Told as what it is.
    unused = DATABASE_PASSWORDS[1:] if has_one_role(inventory.settings) else ()
    for variable in PASSWORDS:
        if variable not in inventory.own or variable not in inventory.settings or variable in unused:
            continue
        value = inventory.settings[variable]
        if value is None:
            value = ""
        if not isinstance(value, str):
            problems.add("CC607", variable, "is no text", "write it in quotes")
            continue
        if value == IN_CHECK_MODE:
            continue
        for code, what, instead in _password_problems(variable, value, names):
            problems.add(code, variable, what, instead)
        first = owner.setdefault(value, variable)
        if value and first != variable:
            problems.add(
                "CC605",
                variable,
                f"is the same as {first}",
                "write another one, so that one stolen password opens one door",
            )


def _known_names(settings: Mapping[str, Any]) -> frozenset[str]:
    """The names that are no secret: of the cluster, its users, its database and its virtual host."""
    keys = ("celery_name", "celery_database_user", "celery_database_name", "celery_vhost", "flower_user", "celery_user")
    found = {str(settings[key]) for key in keys if key in settings} | {owner_name(settings)}
    prefix = settings.get("celery_broker_user_prefix")
    if isinstance(prefix, str):
        found |= {prefix + identity for identity in ("worker", "producer", "flower", "admin")}
    return frozenset(_bare(name) for name in found) - {""}


def _bare(text: str) -> str:
    """Letters and digits in lower case: change_me, Change-Me and CHANGEME are one word."""
    return re.sub(r"[\W_]", "", text.casefold())


def _password_problems(variable: str, value: str, names: frozenset[str]) -> list[tuple[str, str, str]]:
    own = "write one of your own, 20 random characters or more, or remove the variable and have one made"
    if not value:
        return [("CC601", "is empty", own)]
    found = []
    carried = not environment_problems({"PASSWORD": value})
    if not carried:
        found.append(
            ("CC606", "holds a control character or line break, which no environment file carries", "write it without")
        )
    why = _guessable(value, names)
    if why:
        found.append(("CC602", why, own))
    elif len(value) < LEAST_LENGTH:
        found.append(("CC603", f"is shorter than {LEAST_LENGTH} characters", own))
    elif len(value) < GOOD_LENGTH:
        found.append(("CC604", f"is shorter than {GOOD_LENGTH} characters", own))
    if variable in DATABASE_PASSWORDS and STORED_FORM.fullmatch(value):
        found.append(("CC609", "is a stored form of a password", "write the password itself"))
    if variable in DATABASE_PASSWORDS and carried and not why and service_problems({"password": value}):
        found.append(("CC641", "ends with white space or is too long for libpq's service file", "write another one"))
    if variable == "flower_password" and ("," in value or not value.isascii()):
        found.append(
            ("CC608", "holds a comma or a character beyond ASCII, with which Flower lets nobody in", "write it without")
        )
    return found


def _guessable(value: str, names: frozenset[str]) -> str:
    stripped = value.strip()
    if value.startswith(VAULT):
        return "is an encrypted text that was not decrypted"
    if LEFTOVER.fullmatch(stripped) or re.search(r"\{\{.*\}\}", value, re.DOTALL):
        return "is a placeholder"
    if len(set(stripped.casefold())) <= 1:
        return "is one character repeated"
    bare = _bare(value)
    if bare in names:
        return "is a name of this cluster"
    # A number or a mark behind it (Password1!) makes no secret of a word.
    words = {bare, _bare(re.sub(r"[\W\d_]{0,4}\Z", "", value))}
    return "is a well-known password or a placeholder" if words & WELL_KNOWN else ""


# --------------------------------------------------------------------------------------------------
# Names


def _uncarried(value: str) -> bool:
    return bool(environment_problems({"NAME": value}))


def _broker_prefix(value: str) -> tuple[str, str, str] | None:
    # The management API reads name:password, and RabbitMQ drops spaces around a name.
    if _uncarried(value) or ":" in value or value != value.lstrip():
        return "CC611", f"is {value!r}", "write text without a colon, control characters and a space at its beginning"
    if len((value + LONGEST_IDENTITY).encode()) > SHORT_STRING:
        return "CC611", "is too long", f"write at most {SHORT_STRING - len(LONGEST_IDENTITY)} bytes"
    return None


def _vhost(value: str) -> tuple[str, str, str] | None:
    if not value:
        return "CC612", "is empty, which clients read as the virtual host /", "write its name"
    if _uncarried(value):
        return "CC612", f"is {value!r}", "write text without control characters"
    if len(value.encode()) > SHORT_STRING:
        return "CC612", "is too long", f"write at most {SHORT_STRING} bytes"
    return None


def _database_user(value: str) -> tuple[str, str, str] | None:
    reserved = HBA_WORDS | SYSTEM_ROLES
    return _database_word("CC613", value, value.lower() in reserved or value.lower().startswith("pg_"))


def _database_name(value: str) -> tuple[str, str, str] | None:
    return _database_word("CC614", value, value.lower() in HBA_WORDS | SYSTEM_DATABASES)


def _database_word(code: str, value: str, is_reserved: bool) -> tuple[str, str, str] | None:
    if is_reserved:
        return code, f"is {value!r}, which means something else to PostgreSQL", "write another name"
    if DATABASE_WORD.fullmatch(value):
        return None
    return code, f"is {value!r}", "write up to 63 letters, digits and _ . -, a letter, digit or _ first"


def _flower_user(value: str) -> tuple[str, str, str] | None:
    # Flower takes name:password, several of them separated by commas, and compares bytes of ASCII.
    if value and value.isascii() and not _uncarried(value) and not set(value) & {":", ","}:
        return None
    return "CC615", f"is {value!r}", "write ASCII characters without a colon, comma and control characters"


def _account(value: str) -> tuple[str, str, str] | None:
    if value in SYSTEM_ACCOUNTS or value.startswith("systemd-"):
        return (
            "CC617",
            f"is {value}, an account of the system or of another service",
            "write the name of an account that is the cluster's own",
        )
    if ACCOUNT.fullmatch(value):
        return None
    return "CC616", f"is {value!r}", "write up to 26 letters, digits and _ -, a letter or _ first"


#: What a name comes from when the inventory does not say it; all others come from celery_name.
DERIVED = {"celery_database_owner": "celery_database_user"}
NAMES: dict[str, Check] = {
    "celery_broker_user_prefix": _broker_prefix,
    "celery_vhost": _vhost,
    "celery_database_user": _database_user,
    "celery_database_owner": _database_user,
    "celery_database_name": _database_name,
    "flower_user": _flower_user,
    "celery_user": _account,
}
