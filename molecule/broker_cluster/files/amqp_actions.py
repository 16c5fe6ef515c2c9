"""What a broker lets one user do: each action on a connection of its own, in the environment of the release.

Given: `host`, `port`, `ca_file`, `name` (of the broker), `vhost`, `certificate`, `key`, and `actions`, lists of a verb
and its arguments. Answers for each action {"ok": true, "value": …}, or {"ok": false, "code": …, "text": …}.
"""

import json
import ssl
import sys
import uuid
import warnings
from contextlib import contextmanager, suppress

import amqp
from amqp import sasl

warnings.simplefilter("ignore", DeprecationWarning)
given = json.load(sys.stdin)
PATIENCE = 10


@contextmanager
def connected(vhost=None, authentication=None):
    link = amqp.Connection(
        host=f"{given['host']}:{given['port']}",
        virtual_host=vhost or given["vhost"],
        authentication=authentication or sasl.EXTERNAL(),
        confirm_publish=True,
        connect_timeout=PATIENCE,
        read_timeout=PATIENCE,
        ssl={
            "ca_certs": given["ca_file"],
            "certfile": given["certificate"],
            "keyfile": given["key"],
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": given["name"],
        },
    )
    try:
        link.connect()
        yield link
    finally:
        # What is of interest is what the broker said before.
        with suppress(Exception):
            link.close()


def consume(channel, queue):
    channel.basic_qos(0, 1, False)
    channel.basic_cancel(channel.basic_consume(queue))


def get(channel, queue):
    found = channel.basic_get(queue)
    if found is not None:
        channel.basic_reject(found.delivery_tag, requeue=True)


def declare(channel, queue):
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})


def look(channel, queue):
    channel.queue_declare(queue, passive=True)


def publish(channel, exchange, routing_key, **properties):
    channel.basic_publish(
        amqp.Message("{}", content_type="application/json", **properties),
        exchange=exchange,
        routing_key=routing_key,
        confirm_timeout=PATIENCE,
    )


def publish_as(channel, user):
    """The broker compares this property with the user of the connection."""
    publish(channel, "", f"nobody-{uuid.uuid4()}", user_id=user)


def events(channel):
    """As Flower listens: a queue of its own, bound to the exchange of the events."""
    queue = f"celeryev.{uuid.uuid4()}"
    channel.queue_declare(queue, exclusive=True, auto_delete=True)
    channel.queue_bind(queue, "celeryev", "#")
    consume(channel, queue)


def eavesdrop(channel, exchange):
    """As events, but of another exchange: a copy of every task."""
    queue = f"celeryev.{uuid.uuid4()}"
    channel.queue_declare(queue, exclusive=True, auto_delete=True)
    channel.queue_bind(queue, exchange, "#")


def mechanisms():
    """The ways to log in that the broker offers."""
    with connected() as link:
        return sorted(name.decode() for name in link.mechanisms)


def vhost(name):
    with connected(vhost=name):
        pass


def login_as(user):
    """With the certificate of one user, claiming to be another: in the login, and then in a message."""
    with connected(authentication=sasl.RAW(b"EXTERNAL", user.encode())) as link:
        publish_as(link.channel(), user)


def login_anonymous():
    with connected(authentication=sasl.RAW(b"ANONYMOUS", b"stranger")):
        pass


def login_password(user, password):
    with connected(authentication=sasl.PLAIN(user, password)):
        pass


LOGINS = {
    "mechanisms": mechanisms,
    "vhost": vhost,
    "login_as": login_as,
    "login_anonymous": login_anonymous,
    "login_password": login_password,
}
CHANNELS = {
    "consume": consume,
    "get": get,
    "declare": declare,
    "look": look,
    "publish": publish,
    "events": events,
    "eavesdrop": eavesdrop,
    "purge": lambda channel, queue: channel.queue_purge(queue),
    "delete": lambda channel, queue: channel.queue_delete(queue),
}


def run(action):
    verb, *arguments = action
    try:
        if verb in LOGINS:
            return {"ok": True, "value": LOGINS[verb](*arguments)}
        with connected() as link:
            CHANNELS[verb](link.channel(), *arguments)
        return {"ok": True, "value": None}
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return {"ok": False, "code": getattr(error, "reply_code", None), "text": text}


print(json.dumps([run(action) for action in given["actions"]]))
