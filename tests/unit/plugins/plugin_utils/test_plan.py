"""The plan: every host, service, link, queue and access of the model is in it, in the terminal and on the page."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.plan import (
    CONTROLLER,
    ELSEWHERE,
    grouped_links,
    plan,
    plan_text,
    ranges,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.plan_html import plan_html
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.plan_svg import (
    PADDING,
    SIZES,
    cells,
    escape,
    shorten,
    topology_svg,
    wrap,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SETTINGS: dict[str, Any] = {
    "celery_name": "shop",
    "celery_app": "shop.celery:app",
    "celery_vhost": "shop",
    "celery_broker_port": 5671,
    "celery_broker_management_port": 15671,
    "celery_broker_user_prefix": "shop-",
    "celery_database_port": 5432,
    "celery_database_name": "shop",
    "celery_database_user": "shop",
    "code_source_path": "/srv/shop",
    "code_source_ssh_port": 22,
    "flower_listen_address": "0.0.0.0",
    "flower_port": 5555,
}
BUDGET = {"lines": [{"who": "worker default on w1", "connections": 5}], "total": 5, "limit": 97}
WARNING = {"code": "CC113", "severity": "warning", "place": "group b", "what": "is x", "instead": "write y", "host": ""}


def worker(queues: list[str], hosts: list[str], **options: Any) -> dict[str, Any]:
    return {"queues": queues, "hosts": hosts, "pool": "prefork", "concurrency": 4, "autoscale": None, **options}


def model(**changes: Any) -> dict[str, Any]:
    """A cluster of six hosts in the form of the fact celery_cluster."""
    names = ["mq", "db", "app", "w1", "w2", "mon"]
    found: dict[str, Any] = {
        "name": "shop",
        "hosts": {
            name: {"address": f"192.0.2.{number}", "addresses": [f"192.0.2.{number}"]}
            for number, name in enumerate(names, start=1)
        },
        "brokers": ["mq"],
        "database": "db",
        "source": "app",
        "beat": "app",
        "flower": ["mon"],
        "workers": {"default": worker(["celery", "mail"], ["w1", "w2"]), "video": worker(["video"], ["w2"])},
        "worker_hosts": ["w1", "w2"],
        "queues": {
            "celery": [{"worker": "default", "host": "w1"}, {"worker": "default", "host": "w2"}],
            "mail": [{"worker": "default", "host": "w1"}, {"worker": "default", "host": "w2"}],
            "video": [{"worker": "video", "host": "w2"}],
        },
        "release_hosts": ["app", "w1", "w2", "mon"],
        "producers": ["app"],
        "submitter": "app",
        "database_clients": [
            {"name": name, "cidr": f"192.0.2.{number}/32"}
            for number, name in ((4, "w1"), (5, "w2"), (3, "app"), (6, "mon"))
        ],
        "database_mode": "managed",
        "database_port": 5432,
        "database_server_port": 5432,
        "database_pooler": "none",
        "database_login": "password",
        "database_owners": [{"name": "app", "cidr": "192.0.2.3/32"}],
        "warnings": [],
    }
    return {**found, **copy.deepcopy(changes)}


def crowd(size: int) -> dict[str, Any]:
    names = [f"node{number:03}" for number in range(1, size + 1)]
    return model(
        hosts={name: {"address": f"node-{name}", "addresses": []} for name in ["mq", "db", "app", "mon", *names]},
        workers={"default": worker(["celery"], names), "video": worker(["video"], names[::2])},
        worker_hosts=names,
        release_hosts=["app", "mon", *names],
        queues={"celery": [{"worker": "default", "host": name} for name in names]},
    )


def svg(content: dict[str, Any]) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(topology_svg(content, narrow=narrow)) for narrow in (False, True)]  # noqa: S314


def text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


# --------------------------------------------------------------------------------------------------
# The rows


def test_a_host_has_its_services_and_their_units() -> None:
    rows = {row["host"]: row for row in plan(model(), SETTINGS)["hosts"]}
    units = {host: [service["unit"] for service in row["services"]] for host, row in rows.items()}
    assert units == {
        "mq": ["rabbitmq-server.service"],
        "db": ["postgresql@VERSION-main.service"],
        "app": ["", "shop-beat@RELEASE.service"],
        "w1": ["shop-worker-default@RELEASE.service"],
        "w2": ["shop-worker-default@RELEASE.service", "shop-worker-video@RELEASE.service"],
        "mon": ["shop-flower@RELEASE.service"],
    }
    assert rows["w1"]["address"] == "192.0.2.4"


def test_every_link_has_its_ends_port_and_identity() -> None:
    found = {
        (link["service"], link["from"], link["to"], link["port"], link["identity"])
        for link in plan(model(), SETTINGS)["links"]
    }
    assert found == {
        ("worker", "w1", "mq", "5671", "shop-worker"),
        ("worker", "w2", "mq", "5671", "shop-worker"),
        ("application", "app", "mq", "5671", "shop-producer"),
        ("beat", "app", "mq", "5671", "shop-producer"),
        ("Flower", "mon", "mq", "5671", "shop-flower"),
        ("Flower", "mon", "mq", "15671", "shop-flower"),
        ("administration", "mq", "mq", "15671", "shop-admin"),
        ("worker", "w1", "db", "5432", "shop"),
        ("worker", "w2", "db", "5432", "shop"),
        ("application", "app", "db", "5432", "shop"),
        ("beat", "app", "db", "5432", "shop"),
        ("Flower", "mon", "db", "5432", "shop"),
        ("setup commands", "app", "db", "5432", "shop_owner"),
        ("code", "w1", "app", "22", "shop-source"),
        ("code", "w2", "app", "22", "shop-source"),
        ("code", "mon", "app", "22", "shop-source"),
        ("browser", "browser", "mon", "5555", "basic auth"),
    }


def test_without_a_source_host_the_controller_brings_the_code() -> None:
    links = plan(model(source=None), SETTINGS)["links"]
    assert {link["to"] for link in links if link["from"] == CONTROLLER} == {"app", "w1", "w2", "mon"}


def test_without_a_database_results_go_elsewhere() -> None:
    content = plan(model(database=None, database_clients=[]), SETTINGS)
    assert {link["from"] for link in content["links"] if link["to"] == ELSEWHERE} == {"w1", "w2", "app", "mon"}
    assert content["access"] == []


def test_a_flower_that_listens_on_its_own_host_is_reached_by_ssh() -> None:
    content = plan(model(), {**SETTINGS, "flower_listen_address": "127.0.0.1"})
    assert [link["from"] for link in content["links"] if link["kind"] == "browser"] == ["browser, by SSH"]


def test_who_serves_flower_and_how_to_log_in() -> None:
    def seen(**more: str) -> tuple[str, str]:
        content = plan(model(), {**SETTINGS, **more})
        (service,) = next(row["services"] for row in content["hosts"] if row["host"] == "mon")
        return service["detail"], next(link["identity"] for link in content["links"] if link["kind"] == "browser")

    assert seen(flower_proxy="none", flower_auth="basic") == ("listens on 0.0.0.0 port 5555", "basic auth")
    assert seen(flower_proxy="nginx", flower_auth="oauth") == ("nginx on 0.0.0.0 port 5555", "OAuth")


@pytest.mark.parametrize(
    ("options", "slots"), [({}, 8), ({"pool": "solo"}, 2), ({"autoscale": [1, 3]}, 6), ({"concurrency": 1}, 2)]
)
def test_a_queue_has_its_consumers(options: dict[str, Any], slots: int) -> None:
    workers = {"default": worker(["celery", "mail"], ["w1", "w2"], **options), "video": worker(["video"], ["w2"])}
    queues = plan(model(workers=workers), SETTINGS)["queues"]
    assert queues[0] == {"queue": "celery", "workers": ["default"], "hosts": ["w1", "w2"], "at_once": slots}
    assert [row["queue"] for row in queues] == ["celery", "mail", "video"]


def test_who_may_log_in_is_what_the_model_says() -> None:
    access = plan(model(), SETTINGS)["access"]
    assert [(row["who"], row["user"], row["address"], row["method"]) for row in access] == [
        ("w1", "shop", "192.0.2.4/32", "scram-sha-256"),
        ("w2", "shop", "192.0.2.5/32", "scram-sha-256"),
        ("app", "shop", "192.0.2.3/32", "scram-sha-256"),
        ("mon", "shop", "192.0.2.6/32", "scram-sha-256"),
        ("app", "shop_owner", "192.0.2.3/32", "scram-sha-256"),
    ]


def test_the_owner_keeps_its_password_where_the_user_has_a_certificate() -> None:
    content = plan(model(database_login="certificate"), SETTINGS)
    methods = {(row["user"], row["method"]) for row in content["access"]}
    assert methods == {("shop", "cert"), ("shop_owner", "scram-sha-256")}
    identities = {link["identity"] for link in content["links"] if link["kind"] == "database"}
    assert identities == {"shop by certificate", "shop_owner"}
    for show in (plan_text, plan_html):
        assert "cert" in show(content) and "scram-sha-256" in show(content)


def test_one_role_for_both_has_its_lines_once() -> None:
    content = plan(model(), {**SETTINGS, "celery_database_owner": "shop"})
    assert len(content["access"]) == 4
    assert not [link for link in content["links"] if link["service"] == "setup commands"]


POOLED = {"database_pooler": "transaction", "database_port": 6432}


def test_a_pooler_has_its_port_and_the_owner_goes_past_it() -> None:
    content = plan(model(**POOLED), SETTINGS, {**BUDGET, "total": 500, "server": 22})
    (services,) = [row["services"] for row in content["hosts"] if row["host"] == "db"]
    assert [(service["unit"], service["detail"]) for service in services] == [
        ("postgresql@VERSION-main.service", "database shop"),
        ("pgbouncer.service", "transaction pooler, port 6432"),
    ]
    ports = {(link["service"], link["port"]) for link in content["links"] if link["kind"] == "database"}
    clients = ("worker", "application", "beat", "Flower")
    assert ports == {*((service, "6432") for service in clients), ("setup commands", "5432")}
    assert [(row["type"], row["user"], row["address"], row["port"]) for row in content["access"]] == [
        *(("hostssl", "shop", f"192.0.2.{number}/32", "6432") for number in (4, 5, 3, 6)),
        ("local", "shop", "same host", "5432"),
        ("hostssl", "shop_owner", "192.0.2.3/32", "5432"),
    ]
    assert re.search(r"^of the server, through the pooler +22$", plan_text(content), re.MULTILINE)
    page = plan_html(content)
    assert "At most <b>22</b> of the <b>97</b>" in page and 'class="bar"' in page and "<b>500</b>" in page
    for drawing in svg(content):
        assert "PgBouncer over TLS" in text_of(drawing) and "PostgreSQL over TLS" in text_of(drawing)
        assert "shop_owner" in text_of(drawing) and "setup commands" in text_of(drawing)
    # Of both sides of the server, only that of the owner's host has an arrow to the server's own port.
    wide = svg(content)[0]
    tips = [path for path in wide.iter("path") if path.attrib["class"] == "tip database"]
    assert len(tips) == 3
    # The one role of both still goes to the server itself.
    one = plan(model(**POOLED), {**SETTINGS, "celery_database_owner": "shop"})
    assert [(row["type"], row["user"], row["port"]) for row in one["access"]][4:] == [
        ("local", "shop", "5432"),
        ("hostssl", "shop", "5432"),
    ]


def test_several_beats_and_their_lock() -> None:
    lock = [{"name": "w1", "cidr": "192.0.2.4/32"}]
    content = plan(model(**POOLED, beat_hosts=["app", "w1"], lock_clients=lock), SETTINGS)
    details = {
        row["host"]: service["detail"]
        for row in content["hosts"]
        for service in row["services"]
        if service["role"] == "beat"
    }
    assert details == dict.fromkeys(("app", "w1"), "one of 2: sends, or waits to take over")
    assert {row["from"] for row in content["links"] if row["service"] == "beat"} == {"app", "w1"}
    assert ("w1 (lock of beat)", "192.0.2.4/32", "5432") in [
        (row["who"], row["address"], row["port"]) for row in content["access"]
    ]


def test_of_an_existing_server_no_unit_is_claimed() -> None:
    content = plan(model(database_mode="access"), SETTINGS, {**BUDGET, "limit": None})
    (service,) = [service for row in content["hosts"] if row["host"] == "db" for service in row["services"]]
    assert (service["unit"], service["detail"]) == ("", "existing server, database shop")
    page = plan_html(content)
    assert "existing server" in page and "existing server" in plan_text(content)
    assert "VERSION" not in page and "the server&#x27;s own lines stay" not in page
    assert "the server's own lines stay" in page and "Every other address is refused" not in page
    assert "VERSION" in plan_html(plan(model(), SETTINGS))


def test_a_worker_sets_up_where_there_is_no_application() -> None:
    alone = model(source=None, beat=None, flower=[], submitter="w1")
    content = plan(alone, SETTINGS)
    for drawing in svg(content):
        assert text_of(drawing).count("shop_owner") == 1


def test_an_unknown_address_is_said_to_follow() -> None:
    hosts = {**model()["hosts"], "w1": {"address": "w1", "addresses": []}}
    content = plan(model(hosts=hosts, database_clients=[]), SETTINGS)
    assert content["addresses_known"] is False
    assert {row["host"] for row in content["hosts"] if not row["known"]} == {"w1"}
    assert ("w1", "") in [(row["who"], row["address"]) for row in content["access"]]
    assert "follows from facts" in plan_text(content)
    assert "follow from the facts of the hosts" in plan_html(content)


def test_three_brokers_talk_to_each_other() -> None:
    brokers = ["mq", "mq2", "mq3"]
    port = {"port": 25672, "purpose": "distribution", "tls": True}
    hosts = {**model()["hosts"], **{name: {"address": name, "addresses": [], "ports": [port]} for name in brokers}}
    nodes = {name: f"rabbit@{name}" for name in brokers}
    content = plan(model(brokers=brokers, hosts=hosts, broker_nodes=nodes), SETTINGS)
    found = {(link["from"], link["to"]) for link in content["links"] if link["kind"] == "cluster"}
    assert found == {(one, other) for one in brokers for other in brokers if one != other}
    assert content["ports"] == [{"port": 25672, "purpose": "distribution", "tls": True, "hosts": brokers}]
    for shown in (plan_text(content), plan_html(content)):
        assert "25672" in shown and "rabbit@mq2" in shown and "Erlang cookie" in shown
    assert len(svg(content)) == 2


def test_the_ports_say_whether_they_are_encrypted() -> None:
    ports = [{"port": 22, "purpose": "SSH", "tls": False}, {"port": 5555, "purpose": "Flower", "tls": True}]
    hosts = {**model()["hosts"], "app": {"address": "192.0.2.3", "addresses": ["192.0.2.3"], "ports": ports}}
    content = plan(model(hosts=hosts), SETTINGS)
    assert re.search(r"^22 +SSH +no +app$", plan_text(content), re.MULTILINE)
    assert re.search(r"^5555 +Flower +yes +app$", plan_text(content), re.MULTILINE)
    assert "<h2>Open ports</h2>" in plan_html(content)
    assert "Open ports" not in plan_html(plan(model(), SETTINGS))


@pytest.mark.parametrize(
    ("login", "identity"),
    [
        ("password", "shop-worker"),
        ("password_and_certificate", "shop-worker and certificate"),
        ("certificate", "shop-worker by certificate"),
    ],
)
def test_the_links_say_how_a_user_logs_in(login: str, identity: str) -> None:
    links = plan(model(broker_login=login), SETTINGS)["links"]
    assert {link["identity"] for link in links if link["service"] == "worker" and link["kind"] == "amqp"} == {identity}
    # The management API takes passwords in any case.
    assert {link["identity"] for link in links if link["kind"] == "management"} == {"shop-flower", "shop-admin"}


def test_users_of_single_hosts_are_one_row() -> None:
    users = [{"name": f"shop-worker.{host}", "identity": "worker", "host": host} for host in ("w1", "w2")]
    rows = grouped_links(plan(model(broker_users=users), SETTINGS)["links"])
    assert [row["from"] for row in rows if row["identity"] == "shop-worker.HOST"] == [["w1", "w2"]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a1", "a2", "a3"], ["a[1:3]"]),
        (["a1", "a2"], ["a1", "a2"]),
        (["n08.x.org", "n09.x.org", "n10.x.org", "n12.x.org"], ["n[08:10].x.org", "n12.x.org"]),
        (["n9", "n10", "n11"], ["n[9:11]"]),
        (["n01.x", "n02.y", "n03.x"], ["n01.x", "n02.y", "n03.x"]),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        (["mq", "mq", "x" + "9" * 5000], ["mq", "mq", "x" + "9" * 5000]),
        ([], []),
    ],
)
def test_consecutive_names_are_written_as_inventories_write_them(names: list[str], expected: list[str]) -> None:
    assert ranges(names) == expected


def test_equal_links_share_a_row() -> None:
    links = plan(crowd(60), SETTINGS)["links"]
    rows = grouped_links(links)
    assert len(rows) < 20
    assert sum(len(row["from"]) * len(row["to"]) for row in rows) == len(links)


# --------------------------------------------------------------------------------------------------
# What is shown

PROBLEM = {**WARNING, "host": "w1"}


def full() -> dict[str, Any]:
    return plan(model(), SETTINGS, BUDGET, [PROBLEM])


@pytest.mark.parametrize("show", [plan_text, plan_html])
def test_everything_is_shown(show: Any) -> None:
    content, shown = full(), show(full())
    words = {row["host"] for row in content["hosts"]} | {row["address"] for row in content["hosts"]}
    words |= {service["unit"] for row in content["hosts"] for service in row["services"]}
    words |= {link[key] for link in content["links"] for key in ("from", "to", "port", "identity", "protocol")}
    words |= {row["queue"] for row in content["queues"]} | {row["address"] for row in content["access"]}
    words |= {
        "worker default on w1",
        "97",
        "CC113",
        "write y",
        "group b",
        "hostssl",
        "scram-sha-256",
        "shop.celery:app",
    }
    # The application is in the heading of the page only.
    assert {word for word in words if word not in shown} <= ({"shop.celery:app"} if show is plan_text else set())


def test_every_host_of_a_crowd_is_on_the_page() -> None:
    page = plan_html(plan(crowd(60), SETTINGS))
    assert all(f"node{number:03}" in page for number in range(1, 61))
    assert "node[001:060]" in page
    assert "60 hosts" in page


def test_the_drawing_is_well_formed_and_has_every_host_port_and_identity() -> None:
    content = full()
    for drawing in svg(content):
        shown = text_of(drawing)
        words = ["shop-worker", "shop-producer", "shop-flower", "shop-source", "shop_owner", "15671", "video"]
        for word in [*model()["hosts"], *words]:
            assert word in shown


@pytest.mark.parametrize("size", [1, 2, 7, 60])
@pytest.mark.parametrize("source", ["app", None])
@pytest.mark.parametrize("changes", [{}, POOLED])
def test_boxes_do_not_overlap_and_stay_inside(size: int, source: str | None, changes: dict[str, Any]) -> None:
    for drawing in svg(plan({**crowd(size), "source": source, **changes}, SETTINGS)):
        _x, _y, width, height = map(int, drawing.attrib["viewBox"].split())
        boxes = [(box, [int(box.attrib[key]) for key in ("x", "y", "width", "height")]) for box in drawing.iter("rect")]
        for _box, (x, y, wide, high) in boxes:
            assert x >= 0 and y >= 0 and x + wide <= width and y + high <= height
        fronts = [place for box, place in boxes if box.attrib["class"] in ("box", "box server")]
        assert len(fronts) >= 4
        for (x, y, wide, high), (other_x, other_y, other_wide, other_high) in combinations(fronts, 2):
            beside = x + wide <= other_x or other_x + other_wide <= x
            assert beside or y + high <= other_y or other_y + other_high <= y


@pytest.mark.parametrize("size", [2, 60])
def test_text_stays_inside_its_box(size: int) -> None:
    long = "a-very-long-name-of-a-host-in-a-data-centre-of-the-north"
    content = plan(
        {**crowd(size), "source": long, "name": "n" * 31}, {**SETTINGS, "celery_broker_user_prefix": "p" * 40}
    )
    for drawing in svg(content):
        for text in drawing.iter("text"):
            for title in text.findall("title"):
                text.remove(title)
            font = SIZES[text.attrib["class"].split()[0]]
            assert cells("".join(text.itertext())) * font * 0.602 <= 304 - 2 * PADDING


def test_one_host_for_everything_is_one_frame() -> None:
    names = ["all"]
    content = plan(
        model(
            hosts={"all": {"address": "192.0.2.1", "addresses": ["192.0.2.1"]}},
            brokers=names,
            database="all",
            source="all",
            beat="all",
            flower=names,
            workers={"default": worker(["celery"], names)},
            worker_hosts=names,
            release_hosts=names,
            queues={"celery": [{"worker": "default", "host": "all"}]},
            database_clients=[{"name": "all", "cidr": "192.0.2.1/32"}],
        ),
        SETTINGS,
    )
    for drawing in svg(content):
        assert [box.attrib["class"] for box in drawing.iter("rect")].count("frame") == 1
        assert [text for text in drawing.iter("text") if text.text == "all"] != []
        assert text_of(drawing).count("all") == 1


class Elements(HTMLParser):
    """Collects the elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = plan_html(full())
    found = Elements(page)
    assert not {"script", "img", "link", "iframe", "object", "embed", "form", "a", "use", "image"} & set(found.names)
    assert not {"src", "href", "xlink:href", "srcset", "style"} & {name for name, _value in found.attributes}
    assert not [name for name, _value in found.attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import|//[a-z]", page)


EVIL = "<script>alert('x')</script>&\"\u0007\ud800"


def test_whatever_is_written_is_shown_as_text() -> None:
    evil = model(
        **POOLED,
        submitter=EVIL,
        name=EVIL,
        hosts={EVIL: {"address": EVIL, "addresses": [EVIL]}},
        brokers=[EVIL],
        database=EVIL,
        source=EVIL,
        beat=EVIL,
        flower=[EVIL],
        workers={EVIL: worker([EVIL], [EVIL], pool=EVIL)},
        worker_hosts=[EVIL],
        release_hosts=[EVIL],
        queues={EVIL: [{"worker": EVIL, "host": EVIL}]},
        database_clients=[{"name": EVIL, "cidr": EVIL}],
    )
    budget = {"lines": [{"who": EVIL, "connections": EVIL}], "total": EVIL, "limit": EVIL}
    content = plan(
        evil, dict.fromkeys([*SETTINGS, "celery_database_owner"], EVIL), budget, [dict.fromkeys(WARNING, EVIL)]
    )
    page = plan_html(content)
    assert "script" not in Elements(page).names
    assert page.encode("utf-8")
    assert "\u0007" not in page
    assert len(svg(content)) == 2


def test_the_same_cluster_is_the_same_page() -> None:
    assert plan_html(full()) == plan_html(full())
    assert plan_text(full()) == plan_text(full())


@pytest.mark.parametrize(
    ("total", "limit", "words"),
    [(5, 97, "At most <b>5</b> of the <b>97</b>"), (120, 97, 'class="bar over"'), (5, 0, 'class="bar over"')],
)
def test_the_budget_is_compared_with_the_limit(total: int, limit: int, words: str) -> None:
    assert words in plan_html(plan(model(), SETTINGS, {**BUDGET, "total": total, "limit": limit}))


def test_without_a_budget_nothing_is_said_about_it() -> None:
    assert "Connections of the database" not in plan_html(plan(model(), SETTINGS)) + plan_text(plan(model(), SETTINGS))


@pytest.mark.parametrize(("severity", "heading"), [("warning", "Warnings"), ("error", "Errors")])
def test_problems_are_under_their_heading(severity: str, heading: str) -> None:
    assert f"<h2>{heading}</h2>" in plan_html(plan(model(), SETTINGS, None, [{**WARNING, "severity": severity}]))


def test_a_cluster_of_500_hosts_is_drawn_in_a_moment() -> None:
    page = plan_html(plan(crowd(500), SETTINGS))
    assert "node[001:500]" in page
    # Equal hosts are drawn once: the drawing does not grow with the cluster.
    assert len(topology_svg(plan(crowd(500), SETTINGS))) < 30_000


def test_many_different_hosts_end_in_one_box() -> None:
    cluster = crowd(40)
    cluster["workers"] = {
        f"kind{number}": worker([f"queue{number}"], [host]) for number, host in enumerate(cluster["worker_hosts"])
    }
    for drawing in svg(plan(cluster, SETTINGS)):
        assert "different kinds" in text_of(drawing)
        assert "33 hosts" in text_of(drawing)


def test_nothing_at_all_is_shown_without_a_traceback() -> None:
    content = plan({}, {})
    assert plan_html(content)
    assert plan_text(content)
    assert len(svg(content)) == 2


NAMES = st.lists(st.text(min_size=1, max_size=8), max_size=5, unique=True)
TEXTS = st.text(max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cluster_becomes_a_well_formed_page(data: st.DataObject) -> None:
    hosts = data.draw(NAMES)
    one = st.none() | st.sampled_from(hosts) if hosts else st.none()
    some = st.lists(st.sampled_from(hosts), unique=True) if hosts else st.just([])
    kinds = data.draw(
        st.dictionaries(TEXTS, st.builds(worker, st.lists(TEXTS, min_size=1, max_size=4), some), max_size=4)
    )
    content = plan(
        model(
            name=data.draw(TEXTS),
            hosts={host: {"address": data.draw(TEXTS), "addresses": []} for host in hosts},
            brokers=data.draw(some),
            database=data.draw(one),
            source=data.draw(one),
            beat=data.draw(one),
            flower=data.draw(some),
            workers=kinds,
            worker_hosts=[host for host in hosts if any(host in kind["hosts"] for kind in kinds.values())],
            queues={
                queue: [{"worker": name, "host": host} for host in kind["hosts"]]
                for name, kind in kinds.items()
                for queue in kind["queues"]
            },
            release_hosts=hosts,
            database_clients=[],
        ),
        dict.fromkeys(SETTINGS, data.draw(TEXTS)),
    )
    assert len(svg(content)) == 2
    assert plan_html(content).encode("utf-8")
    assert plan_text(content)


@given(st.text(max_size=60), st.integers(4, 40))
def test_shortened_text_fits(text: str, width: int) -> None:
    assert cells(shorten(text, width)) <= width


@given(st.lists(st.text(min_size=1, max_size=30), max_size=12), st.integers(20, 40), st.integers(1, 4))
def test_wrapped_words_fit(words: list[str], width: int, most: int) -> None:
    lines = wrap(words, ", ", width, most)
    assert len(lines) <= most
    assert all(cells(line) <= width for line in lines)


@given(st.text())
def test_escaped_text_is_xml(text: str) -> None:
    assert ElementTree.fromstring(f"<a>{escape(text)}</a>").tag == "a"  # noqa: S314
