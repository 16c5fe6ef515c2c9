# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flower's page: where it is found, and whom it lets in.

What Flower makes of its option auth was read in its source, releases 2.0.0 to 2.2.0. It is no regular
expression, although its help says so: addresses separated by | are compared as they are, and one .* stands for any name
before an @. Releases before 1.2 took it for an expression without an end, which let ann@example.org.evil.net in. So
nobody writes it here: it is made of a list of addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .addresses import is_host_name
from .model import Inventory
from .problems import Problems, shown

NGINX, NONE = "nginx", "none"
BASIC, OAUTH = "basic", "oauth"
PORT, BACKEND_PORT = 5555, 5556
LOOPBACK = "127.0.0.1"
#: Word for the provider -> the class in Flower that logs in with it.
PROVIDERS = {
    "google": "flower.views.auth.GoogleAuth2LoginHandler",
    "github": "flower.views.auth.GithubLoginHandler",
    "gitlab": "flower.views.auth.GitLabLoginHandler",
    "okta": "flower.views.auth.OktaLoginHandler",
}
#: Word for the provider -> the variable that says where an own instance of it is.
OWN_INSTANCES = {
    "github": "FLOWER_GITHUB_OAUTH_DOMAIN",
    "gitlab": "FLOWER_GITLAB_OAUTH_DOMAIN",
    "okta": "FLOWER_OAUTH2_OKTA_BASE_URL",
}
OAUTH_KEYS = frozenset({"provider", "key", "secret", "emails", "redirect_uri", "instance"})
CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
#: Somebody of a domain. Some of what an address may hold looks like an expression and is left out.
PERSON = re.compile(r"[A-Za-z0-9!#%&'+/=_~-]+(\.[A-Za-z0-9!#%&'+/=_~-]+)*", re.ASCII)
DOMAIN = re.compile(r"[a-z0-9](-*[a-z0-9])*(\.[a-z0-9](-*[a-z0-9])*)+", re.ASCII | re.IGNORECASE)
#: What an expression has and an address has not, for the words of the problem.
EXPRESSION = re.compile(r"[\\^$|()\[\]?+]|\.\*|\{")
PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", re.ASCII)

#: Variables of Flower that the role sets for a reason -> what to write instead.
DECIDED = {
    "FLOWER_ADDRESS": "write flower_listen_address instead",
    "FLOWER_AUTH": "write flower_auth: oauth and flower_oauth.emails instead",
    "FLOWER_AUTH_PROVIDER": "write flower_oauth.provider instead",
    "FLOWER_BASIC_AUTH": "write flower_user and flower_password instead",
    "FLOWER_CERTFILE": "remove it: the certificate comes from the role certificates",
    "FLOWER_CONF": "write the options into flower_settings instead",
    "FLOWER_COOKIE_SECRET": "remove it: it is made once",
    "FLOWER_KEYFILE": "remove it: the key comes from the role certificates",
    "FLOWER_OAUTH2_KEY": "write flower_oauth.key instead",
    "FLOWER_OAUTH2_REDIRECT_URI": "write flower_oauth.redirect_uri instead",
    "FLOWER_OAUTH2_SECRET": "write flower_oauth.secret instead",
    "FLOWER_PORT": "write flower_port instead",
    "FLOWER_READ_ONLY": "write flower_read_only instead",
    "FLOWER_UNAUTHENTICATED_API": "remove it: nobody uses the interface without a login",
    "FLOWER_UNIX_SOCKET": "remove it: nginx and the checks reach Flower by flower_backend_port",
    "FLOWER_URL_PREFIX": "write flower_url_prefix instead",
    "FLOWER_XHEADERS": "remove it: flower_proxy decides it",
    **dict.fromkeys(OWN_INSTANCES.values(), "write flower_oauth.instance instead"),
}


def flower_site(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where Flower's page is, and what it answers to whom: what other hosts have to know of it."""
    return {
        "proxy": settings.get("flower_proxy", NGINX),
        "listen": settings.get("flower_listen_address", LOOPBACK),
        "port": settings.get("flower_port", PORT),
        "name": settings.get("flower_server_name", ""),
        "prefix": settings.get("flower_url_prefix", ""),
        "auth": settings.get("flower_auth", BASIC),
        "metrics_allowed": list(settings.get("flower_metrics_allowed") or ()),
    }


def check_flower(inventory: Inventory, problems: Problems) -> None:
    if not inventory.groups.get("flower"):
        return
    settings = inventory.settings
    _check_place(settings, problems)
    _check_metrics(settings.get("flower_metrics_allowed"), problems)
    _check_settings(settings.get("flower_settings"), problems)
    if settings.get("flower_auth", BASIC) == OAUTH:
        _check_oauth(settings, problems)
    elif settings.get("flower_oauth"):
        problems.add(
            "CC666", "flower_oauth", "is set, and flower_auth is basic", "write flower_auth: oauth, or remove it"
        )


# --------------------------------------------------------------------------------------------------
# The place


def _check_place(settings: Mapping[str, Any], problems: Problems) -> None:
    for variable, value, instead in _misplaced(settings):
        problems.add("CC664", variable, f"is {shown(value)}", instead)
    front, back = settings.get("flower_port", PORT), settings.get("flower_backend_port", BACKEND_PORT)
    if front == back and settings.get("flower_proxy", NGINX) == NGINX:
        problems.add(
            "CC119", "flower_backend_port", f"is {back}, which is the port of nginx (flower_port)", "write another one"
        )


def _misplaced(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Variable, value, and what to write instead."""
    prefix = settings.get("flower_url_prefix", "")
    if prefix and not PREFIX.fullmatch(str(prefix)):
        yield "flower_url_prefix", prefix, "write letters, digits, _ and -, without a / at its ends, for example flower"
    name = settings.get("flower_server_name", "")
    if name and not is_host_name(name):
        yield "flower_server_name", name, "write one host name, or remove it"
    address = settings.get("flower_listen_address", LOOPBACK)
    if address and not _is_address(str(address)) and not is_host_name(address):
        yield "flower_listen_address", address, "write one address of the host, or 0.0.0.0 for all"
    for variable, default in (("flower_port", PORT), ("flower_backend_port", BACKEND_PORT)):
        port = settings.get(variable, default)
        if isinstance(port, int) and not 0 < port < 65536:
            yield variable, port, "write a port from 1 to 65535"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_metrics(allowed: Any, problems: Problems) -> None:
    for position, item in enumerate(allowed if isinstance(allowed, Sequence) else ()):
        try:
            ipaddress.ip_network(str(item))
        except ValueError:
            place = f"flower_metrics_allowed[{position}]"
            problems.add("CC665", place, f"is {shown(item)}", "write an address or a network, such as 192.0.2.0/24")


def may_read_metrics(site: Mapping[str, Any], addresses: Sequence[str]) -> bool:
    """Whether nginx lets one of these addresses read the metrics. addresses: of a host."""
    networks = [ipaddress.ip_network(item) for item in site["metrics_allowed"]]
    return any(
        ipaddress.ip_address(address) in network
        for address in addresses
        for network in networks
        if _is_address(address)
    )


def _check_settings(given: Any, problems: Problems) -> None:
    """Values may be secret and are not told."""
    for name in given if isinstance(given, Mapping) else ():
        if name in DECIDED:
            problems.add("CC663", f"flower_settings.{name}", "is decided by the role", DECIDED[name])


# --------------------------------------------------------------------------------------------------
# Who may log in


def email_problem(item: Any) -> str:
    """Why this does not name the people it should; empty when it does."""
    text = str(item)
    name, at, domain = text.rpartition("@")
    if at and DOMAIN.fullmatch(domain) and (name == "*" or PERSON.fullmatch(name)):
        return ""
    if EXPRESSION.search(text):
        anchored = text.startswith("^") and text.endswith("$") and not text.endswith("\\$")
        why = "which Flower compares as it stands" if anchored else "without ^ and $ at its ends"
        return f"is {shown(text)}, a regular expression {why}"
    return f"is {shown(text)}, which is no address"


def auth_pattern(emails: Sequence[str]) -> str:
    """Flower's option auth: addresses, or everybody of one domain."""
    wrong = [problem for problem in map(email_problem, emails) if problem]
    everybody = [item for item in emails if item.startswith("*")]
    if wrong or not emails or (everybody and len(emails) > 1):
        raise ValueError("; ".join(wrong) or "Flower takes addresses, or one domain")
    return f".{everybody[0]}" if everybody else "|".join(emails)


def oauth_environment(oauth: Mapping[str, Any], redirect_uri: str) -> dict[str, str]:
    """The variables of Flower for a login by somebody else's account."""
    provider = oauth["provider"]
    found = {
        "FLOWER_AUTH": auth_pattern(oauth["emails"]),
        "FLOWER_AUTH_PROVIDER": PROVIDERS.get(provider, provider),
        "FLOWER_OAUTH2_KEY": oauth["key"],
        "FLOWER_OAUTH2_SECRET": oauth["secret"],
        "FLOWER_OAUTH2_REDIRECT_URI": oauth.get("redirect_uri") or redirect_uri,
    }
    if oauth.get("instance"):
        found[OWN_INSTANCES[provider]] = oauth["instance"]
    return found


def _check_oauth(settings: Mapping[str, Any], problems: Problems) -> None:
    oauth = settings.get("flower_oauth")
    if not isinstance(oauth, Mapping) or not oauth:
        problems.add(
            "CC662", "flower_oauth", "is empty, and flower_auth is oauth", "write provider, key, secret and emails"
        )
        return
    for key, what, instead in _incomplete(oauth):
        problems.add("CC662", f"flower_oauth.{key}", what, instead)
    emails = oauth.get("emails")
    if not isinstance(emails, Sequence) or isinstance(emails, str) or not emails:
        problems.add("CC660", "flower_oauth.emails", "names nobody", "write a list of addresses, or *@ and a domain")
        return
    for position, item in enumerate(emails):
        problem = email_problem(item)
        if problem:
            problems.add(
                "CC660",
                f"flower_oauth.emails[{position}]",
                problem,
                "write addresses such as ann@example.org, or '*@example.org' for everybody there",
            )
    if len(emails) > 1 and any(str(item).startswith("*@") for item in emails):
        problems.add(
            "CC661", "flower_oauth.emails", "has a whole domain beside others", "write one domain, or single addresses"
        )


def _incomplete(oauth: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, what is wrong, and what to write instead. The values of key and secret are not told."""
    for key in oauth:
        if key not in OAUTH_KEYS:
            yield str(key), "is no key of it", f"write one of {', '.join(sorted(OAUTH_KEYS))}"
    provider = str(oauth.get("provider") or "")
    if provider not in PROVIDERS and not CLASS.fullmatch(provider):
        yield "provider", f"is {shown(provider)}", f"write {', '.join(PROVIDERS)}, or the class of one of your own"
    for key in ("key", "secret"):
        value = oauth.get(key)
        if not isinstance(value, str) or not value.isprintable() or not value.strip():
            yield key, "is empty or no text", "write what the provider gave you"
    uri = oauth.get("redirect_uri")
    if uri and not _is_https(uri):
        yield "redirect_uri", f"is {shown(uri)}", "write a URL that begins with https://, or remove it"
    instance = oauth.get("instance")
    if provider == "okta" and not _is_https(instance):
        yield "instance", f"is {shown(instance)}", "write the URL of the authorization server, https://…/oauth2/default"
    elif provider in ("github", "gitlab") and instance and not is_host_name(instance):
        yield "instance", f"is {shown(instance)}", "write the host name of your own server, or remove it"
    elif instance and provider not in OWN_INSTANCES:
        yield "instance", f"is {shown(instance)}, and this provider has none", "remove it"


def _is_https(url: Any) -> bool:
    try:
        parts = urlsplit(str(url or ""))
        return parts.scheme == "https" and bool(parts.hostname) and str(url).isprintable()
    except ValueError:
        return False
