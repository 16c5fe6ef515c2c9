# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values on their way into other languages: URLs, environment files, unit files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names in libpq's connection service file.
SERVICE, PARAMETER = re.compile(r"[A-Za-z0-9_.-]+"), re.compile(r"[a-z][a-z_]*")
#: A line that begins like this looks parameters up elsewhere.
NOT_IN_SERVICES = ("ldap", "service")
#: libpq reads into 1024 bytes, of which the line break and its own mark take some.
LONGEST_SERVICE_LINE = 1021


def url_host(address: str) -> str:
    """An IPv6 address in brackets, everything else as it is."""
    return f"[{address}]" if ":" in address else address


def broker_url(addresses: Sequence[str], port: int, user: str, password: str, vhost: str) -> str:
    """One URL per broker, joined as Celery reads them for failover. ``ssl=1`` verifies against SSL_CERT_FILE.

    password: empty for a user whose login is its certificate.
    """
    login = f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")
    return ";".join(
        f"pyamqp://{login}@{url_host(address)}:{port}/{quote(vhost, safe='')}?ssl=1" for address in addresses
    )


def database_url(
    address: str,
    port: int,
    user: str,
    password: str,
    database: str,
    ca_file: str,
    scheme: str = "postgresql",
    certificate: str = "",
    key: str = "",
) -> str:
    """A libpq style URL that verifies the server's certificate and its name.

    password: empty for a user whose login is its certificate. scheme: ``postgresql`` for libpq,
    ``db+postgresql+psycopg`` for Celery's result backend.
    """
    login = f"{quote(user, safe='')}:{quote(password, safe='')}" if password else quote(user, safe="")
    files = {"sslrootcert": ca_file, "sslcert": certificate, "sslkey": key}
    query = "&".join(
        ["sslmode=verify-full", *(f"{name}={quote(file, safe='/')}" for name, file in files.items() if file)]
    )
    return f"{scheme}://{login}@{url_host(address)}:{port}/{quote(database, safe='')}?{query}"


def service_file(services: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of libpq's connection service file: name of a service -> its parameters. Empty ones are left out.

    libpq reads lines, takes everything behind the first = as it is, and drops white space at the end of a line.
    """
    problems = [
        f"{name!r} is no name of a service: use letters, digits and _ . -"
        for name in services
        if not isinstance(name, str) or not SERVICE.fullmatch(name)
    ]
    lines = []
    for name, parameters in services.items():
        problems += (f"{name}: {problem}" for problem in service_problems(parameters))
        lines.append(f"[{name}]")
        lines += (f"{key}={value}" for key, value in parameters.items() if not _is_empty(value))
    if problems:
        raise ValueError("; ".join(problems))
    return "".join(f"{line}\n" for line in lines)


def _is_empty(value: Any) -> bool:
    return value is None or value == ""


def service_problems(parameters: Mapping[Any, Any]) -> list[str]:
    """Why libpq would not read these parameters as they are meant. Values may be secret: only names are told."""
    problems = []
    for key, value in parameters.items():
        if not isinstance(key, str) or not PARAMETER.fullmatch(key):
            problems.append(f"{key!r} is no connection parameter: use lower-case letters and _")
        elif key.startswith(NOT_IN_SERVICES):
            problems.append(f"{key} means something else in a service file: remove it")
        elif _is_empty(value):
            continue
        elif not isinstance(value, (str, int, float)) or isinstance(value, bool):
            problems.append(f"the value of {key} is no text: write a text or a number, quoted if in doubt")
        elif re.search("[\0\n\ud800-\udfff]|[ \t\v\f\r]\\Z", str(value)):
            problems.append(
                f"the value of {key} holds a line break or NUL character or ends with white space, which libpq does "
                "not read from a service file: write another one"
            )
        elif len(f"{key}={value}".encode()) > LONGEST_SERVICE_LINE:
            problems.append(f"the value of {key} is too long: libpq reads lines of {LONGEST_SERVICE_LINE} bytes")
    return problems


def management_url(address: str, port: int, user: str, password: str) -> str:
    """The broker's management API as Flower reads it."""
    return f"https://{quote(user, safe='')}:{quote(password, safe='')}@{url_host(address)}:{port}/api/"


def env_file(variables: Mapping[str, Any]) -> str:
    """The text of an environment file that systemd (EnvironmentFile=) and a POSIX shell read alike.

    Inside double quotes both take a backslash before ``\\ " $ ```` literally; a line break has no common form.
    """
    problems = environment_problems(variables)
    if problems:
        raise ValueError("; ".join(problems))
    escaped = {name: re.sub(r'([\\"$`])', r"\\\1", str(value)) for name, value in variables.items()}
    return "".join(f'{name}="{value}"\n' for name, value in escaped.items())


def own_files(variables: Mapping[str, Any], directory: str, own_directory: str, names: Iterable[str]) -> dict[str, Any]:
    """The variables, where a value that names `directory`/name names `own_directory`/name instead.

    So each release reads the configuration files it was tried with, wherever its environment says where they are.
    """
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    if not listed:
        return dict(variables)
    place = re.compile(rf"(?<![A-Za-z0-9._/-]){re.escape(directory.rstrip('/'))}/({listed})(?![A-Za-z0-9._-])")
    replaced = own_directory.rstrip("/")
    return {
        name: place.sub(lambda found: f"{replaced}/{found[1]}", value) if isinstance(value, str) else value
        for name, value in variables.items()
    }


def environment_problems(variables: Mapping[Any, Any]) -> list[str]:
    """Why env_file would refuse these variables. Values may be secret: only names are told."""
    problems = []
    for name, value in variables.items():
        if not isinstance(name, str) or not ENV_NAME.fullmatch(name):
            problems.append(f"{name!r} is not a name of an environment variable: use letters, digits and _")
        elif not isinstance(value, (str, int, float)):
            problems.append(f"the value of {name} is no text: write a text or a number, quoted if in doubt")
        elif not all(_carried(character) for character in str(value)):
            problems.append(
                f"the value of {name} holds a control character or line break, which cannot be carried: remove it"
            )
    return problems


def _carried(character: str) -> bool:
    # systemd refuses a whole file for one surrogate or one of Unicode's 66 noncharacters.
    code = ord(character)
    return code >= 32 and not (0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE)


def systemd_quote(words: str | Sequence[str]) -> str:
    """Words of an Exec…= line with specifiers, variables, quotes and line breaks made literal."""
    if isinstance(words, str):
        words = [words]
    return " ".join(_systemd_word(str(word)) for word in words)


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    # A line break would end the directive and begin another one.
    escaped = re.sub(r"[\x01-\x1f]", lambda found: f"\\x{ord(found.group()):02x}", escaped)
    if "\0" in word:
        raise ValueError(f"{word!r} holds a NUL character, which no command line can carry: remove it")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", word):
        return escaped
    return f'"{escaped}"'


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as a table of plain text, every column as wide as its longest value."""
    cells = [[str(column).upper() for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = [
        "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip() for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "ok" if value else "FAILED"
    if isinstance(value, float):
        return f"{value:.2f}"
    # One row is one line, whatever a server answered.
    return " ".join(str(value).splitlines())
