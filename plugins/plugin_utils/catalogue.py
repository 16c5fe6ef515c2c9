# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every problem the model knows, by its code. docs/problems.md is made from this table."""

from __future__ import annotations

from typing import NamedTuple

ERROR = "error"
WARNING = "warning"


class Kind(NamedTuple):
    """``title``: what is wrong, in one line. ``why``: what would happen, and what to do. A code is never reused."""

    severity: str
    title: str
    why: str


#: First digit -> what the codes of that hundred are about.
CHAPTERS = {
    "1": "Groups and the cluster as a whole",
    "2": "Kinds of workers",
    "3": "Queues",
    "4": "Budgets",
    "5": "Addresses and access",
    "6": "Identities and secrets",
    "7": "Paths",
    "8": "Hosts and versions",
    "9": "Variables",
}

CATALOGUE: dict[str, Kind] = {
    # --- 1: groups ---------------------------------------------------------------------------------------------------
    "CC101": Kind(
        ERROR,
        "The name of the cluster cannot be carried everywhere",
        "celery_name becomes part of systemd units, node names, broker users and paths. It is a lower-case letter "
        "followed by up to 24 of a-z, 0-9 and _.",
    ),
    "CC102": Kind(
        ERROR, "No application is named", "Every Celery process loads celery_app: write what `celery -A` takes."
    ),
    "CC103": Kind(
        ERROR,
        "The number of brokers",
        "One broker, or an odd number from three on. An even number cannot decide which half goes on when the network "
        "between them breaks, and a second broker alone makes a cluster less available than one.",
    ),
    "CC104": Kind(
        ERROR,
        "More than one source of the code",
        "The group celery_source holds the one host whose tree is the code; with two of them nobody knows which is.",
    ),
    "CC105": Kind(
        ERROR,
        "More than one database host",
        "The group postgresql holds at most one host: the collection sets up no replication.",
    ),
    "CC106": Kind(
        ERROR,
        "Nowhere to store results",
        "Without results nothing can be proved: add a host to the group postgresql, or write the URL of an existing "
        "result backend into celery_result_backend_url.",
    ),
    "CC107": Kind(
        ERROR, "No workers", "A cluster needs at least one kind of worker and at least one host that runs it."
    ),
    "CC108": Kind(
        ERROR,
        "A pattern matches no host",
        "A kind of worker whose pattern matches nobody runs nowhere, and its queues are consumed by nobody.",
    ),
    "CC109": Kind(
        ERROR,
        "A host of a worker is outside the cluster",
        "A host that runs a worker needs the certificate, the code and the access that the hosts of the cluster's "
        "groups get: add it to the group celery_workers.",
    ),
    "CC110": Kind(
        ERROR,
        "A pattern names an unknown group or host",
        "An inventory pattern names what the inventory has. A misspelled part of it would be passed over in silence.",
    ),
    "CC111": Kind(
        ERROR,
        "A cluster variable differs between hosts",
        "The variables celery_* describe the whole cluster: write each of them once, into group_vars/all.",
    ),
    "CC112": Kind(
        ERROR,
        "Beat has a schedule and no host",
        "celery_settings has a beat_schedule and the group celery_beat is empty: no periodic task would ever be sent.",
    ),
    "CC114": Kind(
        WARNING,
        "Without beat, results are never deleted",
        "A database keeps results until Celery's task celery.backend_cleanup removes those that are older than "
        "celery_settings.result_expires, and only beat sends that task. In Redis results expire by themselves.",
    ),
    "CC115": Kind(
        ERROR,
        "Two brokers with one host name",
        "The Erlang node of a broker is rabbit@ and the first part of the system's host name. Two nodes of one name "
        "cannot be one cluster. It is the host name that the system has, not the name in the inventory.",
    ),
    "CC116": Kind(
        ERROR,
        "The common name of the brokers is no name",
        "celery_broker_name stands in the certificate of every broker, and clients check it whichever broker they "
        "reach. It is written like a name of DNS: letters, digits, hyphens and dots.",
    ),
    "CC117": Kind(
        ERROR,
        "A line of rabbitmq.conf would undo what the roles decide",
        "The lines of rabbitmq_settings come last and win. Some would open a port without TLS, let users in without "
        "the cluster's way to log in, or take a broker out of its cluster, while everything derived from the "
        "variables still says otherwise.",
    ),
    "CC118": Kind(
        WARNING,
        "A line of rabbitmq.conf has a variable of its own",
        "The lines of rabbitmq_settings come last and win, and what is computed from the variable is wrong then. Write "
        "the variable instead.",
    ),
    "CC119": Kind(
        ERROR,
        "Two services of a host on one port",
        "The one that comes second does not start.",
    ),
    "CC120": Kind(
        ERROR,
        "An unknown way to run the database",
        "postgresql_mode is managed, for a server that is installed and configured here, or access, for an "
        "existing server that is somebody else's and only lets the cluster in.",
    ),
    "CC121": Kind(
        ERROR,
        "An unknown pooler",
        "postgresql_pooler is none, session or transaction.",
    ),
    "CC122": Kind(
        ERROR,
        "A pooler where none can work",
        "The pooler runs beside a managed server; on the server of somebody else nothing is installed. It logs in "
        "for its clients with what their passwords prove, and a client's certificate proves nothing it could show "
        "the server.",
    ),
    "CC123": Kind(
        WARNING,
        "A variable that changes nothing on an existing server",
        "With postgresql_mode: access the server is installed, configured and restarted by somebody else. Version, "
        "addresses, settings and certificate are theirs; the number of its connections is asked of the server "
        "itself.",
    ),
    "CC125": Kind(
        ERROR,
        "Several beat hosts and no database that keeps them apart",
        "With several hosts in celery_beat one sends, and the others wait for a lock in the cluster's PostgreSQL. "
        "Without that database every one of them would send every periodic task.",
    ),
    "CC124": Kind(
        WARNING,
        "Results that never expire",
        "With a result_expires of 0 or null beat does not send the task celery.backend_cleanup, and the table of "
        "results grows with every task.",
    ),
    "CC130": Kind(
        ERROR,
        "The days of the log are out of range",
        "celery_log_retention is a number of days. 0 leaves the log in the system's own journal, with its rules.",
    ),
    "CC131": Kind(
        ERROR,
        "The size of the log is no size",
        "celery_log_max_size is what the cluster's own journal may take of the disk. journald keeps it in files, and "
        "with less than 64 MiB it would throw away nearly all that it is given.",
    ),
    # --- 2: kinds of workers -----------------------------------------------------------------------------------------
    "CC201": Kind(
        ERROR,
        "The name of a kind of worker cannot be carried everywhere",
        "The name becomes part of systemd units, node names and paths. It is a lower-case letter followed by up to "
        "30 of a-z, 0-9 and _.",
    ),
    "CC202": Kind(
        ERROR,
        "Two kinds of workers have one name",
        "YAML tells the number 1 from the text '1'; units and node names do not. Two workers with one node name "
        "answer for each other.",
    ),
    "CC203": Kind(
        ERROR,
        "celery_workers, a kind or an option is written as something else",
        "celery_workers and each kind are mappings, and each option has its type. A text that looks like a number, "
        "such as '4' in quotes, is a text.",
    ),
    "CC204": Kind(
        ERROR,
        "Unknown option of a worker",
        "A misspelled option would be passed over in silence, and the worker would run without it.",
    ),
    "CC205": Kind(
        ERROR,
        "A value that the option does not take",
        "Neither Celery nor systemd would start the worker with it.",
    ),
    "CC206": Kind(
        ERROR,
        "A number out of range",
        "Celery reads 0 as 'not given' and falls back to its own default: concurrency 0 starts one child per "
        "processor, prefetch_multiplier 0 reserves four messages per child. Leave the option out for Celery's "
        "default.",
    ),
    "CC207": Kind(
        ERROR,
        "A kind of worker without queues",
        "Without names of queues Celery consumes the default queue, which another kind may be meant for.",
    ),
    "CC208": Kind(
        ERROR,
        "The name of a queue cannot be carried everywhere",
        "Queues are separated by commas on the command line and become part of the broker's permissions. A name "
        "starts with a letter or digit, followed by up to 200 letters, digits and . _ : -.",
    ),
    "CC209": Kind(
        ERROR,
        "A kind names a queue more than once",
        "It consumes the queue once all the same. Mostly the second one was meant to be another queue.",
    ),
    "CC210": Kind(
        ERROR,
        "The environment of a kind cannot be written",
        "The environment becomes a file that systemd and shells read alike: names are letters, digits and _, and "
        "values hold no line break or other control character.",
    ),
    "CC211": Kind(
        ERROR,
        "An argument that is no text",
        "YAML reads some words as something else, such as on, no and null: write them in quotes.",
    ),
    "CC212": Kind(
        ERROR,
        "An argument that the collection sets itself",
        "Celery takes the last of two, so that the model, and everything derived from it, would speak of another "
        "worker: two nodes may get one name, connections are miscounted, a stop kills running tasks. What is an "
        "option of the kind is written there, the rest belongs to systemd and the collection. An empty --pidfile= is "
        "allowed.",
    ),
    "CC213": Kind(
        WARNING,
        "An argument empties the queues",
        "--purge throws away all waiting tasks whenever the worker starts: after each deployment, crash and reboot.",
    ),
    "CC214": Kind(
        ERROR,
        "autoscale is not the least and the most number of children",
        "Write a list of two whole numbers: the least, which may be 0, and the most, at least 1 and not below it.",
    ),
    "CC215": Kind(
        ERROR,
        "autoscale without prefork",
        "A smaller pool gives memory back with prefork only. The pools of threads and solo cannot grow at all, and "
        "greenlets that wait cost next to nothing: write the largest number as concurrency.",
    ),
    "CC216": Kind(
        ERROR,
        "autoscale on quorum queues",
        "A worker on quorum queues cannot change how many messages it reserves, so it grows without getting more to "
        "do. One quorum queue is enough for this.",
    ),
    "CC217": Kind(
        WARNING,
        "concurrency beside autoscale",
        "With autoscale the number of children moves between its two numbers, and concurrency says nothing.",
    ),
    "CC218": Kind(
        ERROR,
        "concurrency with the solo pool",
        "The solo pool runs one task at a time, in the process that also talks to the broker. A larger number would "
        "only make it reserve more messages, which wait while other workers are idle.",
    ),
    "CC219": Kind(
        ERROR,
        "A limit that the pool ignores",
        "Celery takes the option and does nothing with it: the task would run for ever, the process grow for ever. "
        "prefork enforces all limits. gevent enforces time_limit, for a task that waits for something now and then. "
        "threads, eventlet and solo enforce none.",
    ),
    "CC220": Kind(
        ERROR,
        "soft_time_limit is not below time_limit",
        "The soft limit raises an exception, so that the task can tidy up; at the hard limit the process is killed.",
    ),
    "CC221": Kind(
        ERROR,
        "stop_timeout is below time_limit",
        "A stop would kill tasks that are still allowed to run. Left out, it is time_limit and 60 seconds.",
    ),
    "CC222": Kind(
        ERROR,
        "A line of a unit that systemd would not read as it is meant",
        "Each entry of unit_options, worker_unit_options, beat_unit_options and flower_unit_options becomes one line "
        "of the section [Service], name=value. true and false are written as yes and no. Where a directive takes "
        "several values, write them into one text, with spaces.",
    ),
    "CC223": Kind(
        ERROR,
        "A line of a unit that the collection decides",
        "Some lines keep a stop from killing tasks, or say whose process it is and when it counts as ready. Others "
        "are options or variables, which the model reads as well. What loosens or tightens the sandbox is free.",
    ),
    "CC224": Kind(
        ERROR,
        "memory_high is not below memory_max",
        "From memory_high on a service is slowed down, so that it gives memory back before memory_max makes the kernel "
        "kill one of its processes.",
    ),
    # --- 3: queues ---------------------------------------------------------------------------------------------------
    "CC301": Kind(
        ERROR,
        "A queue has a name of Celery or the broker",
        "RabbitMQ keeps names with amq. for itself. Celery uses celeryev, celery.pidbox, *.celery.pidbox and "
        "celery_delayed_*: whoever may write to a pidbox can shut workers down.",
    ),
    "CC302": Kind(
        ERROR,
        "A queue is a dot-suffix of another (quorum queues)",
        "For quorum queues a message with an ETA or a countdown waits in the broker, which then delivers it by the "
        "end of its name: one for bulk.mail also reaches mail, and the task runs twice. No queue may be another one "
        "without its first words.",
    ),
    "CC303": Kind(
        WARNING,
        "A queue is a dot-suffix of another",
        "It does no harm as long as no queue of the application is a quorum queue. With the first one, delayed tasks "
        "for bulk.mail would also run from mail. celery_queue_type is classic; the application itself may ask for one.",
    ),
    "CC304": Kind(
        ERROR,
        "A route to a queue nobody consumes",
        "The tasks would wait for ever, and the broker's permissions know the consumed queues only.",
    ),
    "CC305": Kind(
        ERROR,
        "Nobody consumes the default queue",
        "celery_settings.task_default_queue is where every task without a route is sent. It would wait there for ever.",
    ),
    "CC306": Kind(
        WARNING,
        "Nobody consumes the queue celery",
        "Celery sends tasks without a route to the queue celery unless the application says otherwise. If it does, "
        "write the same into celery_settings.task_default_queue.",
    ),
    "CC307": Kind(
        ERROR,
        "A queue is consumed on no host",
        "The patterns of all kinds that consume it match no host, so its tasks would wait for ever.",
    ),
    "CC308": Kind(
        ERROR,
        "The broker's consumer timeout is too short",
        "RabbitMQ closes the channel of a worker that has not acknowledged a message in time. A worker holds one for "
        "as long as the longest task and the longest stop together. Left out, rabbitmq_consumer_timeout (seconds) is "
        "twice the longest stop_timeout.",
    ),
    "CC309": Kind(
        ERROR,
        "celery_settings contradicts celery_queue_type",
        "celery_queue_type decides type of queues and exchanges for all processes, and the policies of the broker. "
        "A setting that says otherwise makes some processes declare other queues than the rest, which the broker "
        "refuses. Single queues in task_queues may be of another type.",
    ),
    "CC310": Kind(
        ERROR,
        "A queue is the dead-letter queue",
        "What no worker could finish is kept in the queue with the name of the cluster and .dead. A worker that "
        "consumed it would fail in the same way again, and nobody could look at it.",
    ),
    "CC311": Kind(
        ERROR,
        "An unknown type of queues",
        "celery_queue_type is quorum, for queues that survive the loss of a broker and count deliveries, or classic.",
    ),
    "CC312": Kind(
        ERROR,
        "The limit of deliveries is out of range",
        "A message that was delivered celery_delivery_limit times without an end goes to the dead-letter queue. It is "
        "1 or more: each loss of a worker or its connection counts as one.",
    ),
    "CC313": Kind(
        ERROR,
        "The days of the dead-letter queue are out of range",
        "celery_dead_letter_days is from 1 to 49: RabbitMQ counts the age of a message in milliseconds up to 2^32.",
    ),
    "CC314": Kind(
        WARNING,
        "A limit of deliveries on classic queues",
        "Only quorum queues count how often a message was delivered. A classic queue delivers it for ever.",
    ),
    # --- 4: budgets --------------------------------------------------------------------------------------------------
    "CC401": Kind(
        ERROR,
        "More database connections than there are",
        "Each child of a prefork worker keeps a connection, other pools open one for each result they store at "
        "the same time. Beyond max_connections PostgreSQL refuses logins: tasks run and their results are lost. "
        "Ten connections are assumed for the application on the source host.",
    ),
    "CC402": Kind(
        WARNING,
        "The database connections are nearly used up",
        "The cluster needs more than four fifths of them. While a release replaces another one, the workers of "
        "both run, and an operator needs a connection too.",
    ),
    "CC403": Kind(
        ERROR,
        "Workers keep more connections than a session pooler has",
        "Each child of a prefork worker keeps its connection, and a session pooler keeps one of the server's for "
        "each. The children beyond postgresql_pooler_size wait for one that never comes free, and the results of "
        "their tasks are lost. A transaction pooler lends a connection for one transaction at a time.",
    ),
    "CC404": Kind(
        ERROR,
        "More connections than the broker can open",
        "Each connection of a worker is a socket of the broker. Beyond rabbitmq_open_files it accepts no more, "
        "and workers that reconnect stay outside.",
    ),
    "CC405": Kind(
        ERROR,
        "The size of the pooler is no number",
        "postgresql_pooler_size is how many connections the pooler may open to the server, 1 or more.",
    ),
    "CC406": Kind(
        WARNING,
        "The connections of a session pooler are nearly used up",
        "While a release replaces another one, the prefork workers of both keep their connections. Ten are assumed for "
        "the application on the source host. Who finds none waits, and after two minutes PgBouncer refuses.",
    ),
    # --- 5: addresses and access -------------------------------------------------------------------------------------
    "CC501": Kind(
        ERROR,
        "The address of a host is unknown",
        "Other hosts reach a host at celery_address, else at ansible_host where that is an address, else at the "
        "default address among its facts.",
    ),
    "CC502": Kind(
        ERROR,
        "An address that is neither an address nor a host name",
        "celery_address goes into certificates, URLs and pg_hba.conf. It is one IPv4 or IPv6 address or one host "
        "name: no port, no network, no zone.",
    ),
    "CC503": Kind(
        ERROR,
        "A loopback address for a host that others must reach",
        "A loopback address leads each host to itself. It is accepted for a cluster of one host.",
    ),
    "CC504": Kind(
        ERROR,
        "A user of the database without a known address",
        "pg_hba.conf lets addresses in. For a host whose celery_address is a name they come from its facts.",
    ),
    "CC505": Kind(
        WARNING,
        "An address at which others do not reach a host",
        "The unspecified address, multicast addresses and link-local addresses of IPv6 are valid, but lead no "
        "other host to this one.",
    ),
    "CC507": Kind(
        ERROR,
        "Two hosts with one address",
        "One machine under two names would run every unit twice, and each run would undo what the other wrote. "
        "Machines behind forwarded ports need a celery_address each.",
    ),
    "CC510": Kind(
        ERROR,
        "The allowed clients are no list",
        "celery_allowed_clients is a list of addresses, networks and host names.",
    ),
    "CC511": Kind(
        ERROR,
        "An allowed client is no address, network or name",
        "pg_hba.conf takes one address, a network or a host name. Quote what YAML could take for a number.",
    ),
    "CC512": Kind(
        ERROR,
        "An address with the mask of a network",
        "10.0.0.5/24 names one host and 256 addresses at once. Write the network (10.0.0.0/24) or the host "
        "(10.0.0.5): guessing wrong would let strangers in or friends out.",
    ),
    "CC513": Kind(
        ERROR,
        "An allowed network is too wide",
        "An IPv4 network may hold up to celery_allowed_clients_max addresses (256 unless set), an IPv6 network as "
        "many or one /64, whichever is more. A network of all addresses and the words all, samehost and samenet "
        "are refused whatever the limit is.",
    ),
    "CC514": Kind(
        WARNING,
        "An allowed client is there already",
        "It repeats another entry, lies in a wider one, or is a host of the inventory, which needs no entry.",
    ),
    "CC515": Kind(
        WARNING,
        "An allowed client is a name",
        "For each connection PostgreSQL looks the client's address up backwards (PTR) and the name it finds "
        "forwards again (A or AAAA). Both records must exist and agree, and who controls the DNS controls who may "
        "try to log in.",
    ),
    "CC516": Kind(
        ERROR,
        "An allowed client with a zone",
        "The zone of an address (fe80::1%eth0) names a link of one machine; pg_hba.conf cannot carry it.",
    ),
    "CC517": Kind(
        ERROR,
        "The limit of allowed networks is no number",
        "celery_allowed_clients_max is the number of addresses that one network of celery_allowed_clients may hold.",
    ),
    "CC518": Kind(
        ERROR,
        "The schemas of the database cannot be opened",
        "celery_database_schemas is a list of the schemas whose tables workers and application read and write, at "
        "least one. What begins with pg_, and information_schema, are PostgreSQL's own.",
    ),
    "CC519": Kind(
        ERROR,
        "An allowed client is a name, and there is a pooler",
        "PgBouncer takes addresses and networks only.",
    ),
    # --- 6: identities and secrets -----------------------------------------------------------------------------------
    "CC601": Kind(
        ERROR,
        "An empty password",
        "Remove the variable, and a password is made and kept in celery_secrets_directory.",
    ),
    "CC602": Kind(
        ERROR,
        "A well-known password or a placeholder",
        "Such passwords are tried first. What examples and templates leave behind, the names of the cluster and "
        "of its users, and repetitions of one character are no secrets.",
    ),
    "CC603": Kind(
        ERROR,
        "A password of less than 8 characters",
        "It can be guessed in a short time by everybody who reaches the service.",
    ),
    "CC604": Kind(
        WARNING,
        "A password of less than 12 characters",
        "It may be guessed. The passwords that the collection makes have 40 characters.",
    ),
    "CC605": Kind(
        WARNING,
        "Two identities with one password",
        "Each identity may do what its work needs and no more. Who learns a shared password has the rights of both.",
    ),
    "CC606": Kind(
        ERROR,
        "A password with a control character",
        "Passwords reach the services in environment files, in which a line break or control character has no "
        "form that systemd and a shell read alike. All other characters are carried.",
    ),
    "CC607": Kind(
        ERROR,
        "A password that is no text",
        "YAML reads digits, true and null as other things than text, and what they become is not what was written.",
    ),
    "CC608": Kind(
        ERROR,
        "A password of Flower that lets nobody in",
        "Flower splits its list of logins at commas and compares ASCII only.",
    ),
    "CC609": Kind(
        ERROR,
        "A stored form in place of a password",
        "PostgreSQL takes md5... and SCRAM-SHA-256$... for the stored form of another password; the workers would "
        "log in with the wrong one.",
    ),
    "CC610": Kind(
        ERROR,
        "A name of an identity is no text",
        "The names of users, of the database and of the virtual host are texts.",
    ),
    "CC611": Kind(
        ERROR,
        "Broker users that RabbitMQ cannot carry",
        "The management API separates name and password by a colon, RabbitMQ drops spaces around a name, and AMQP "
        "carries 255 bytes.",
    ),
    "CC612": Kind(
        ERROR,
        "A virtual host that cannot be carried",
        "Clients read an empty name as /, AMQP carries 255 bytes, and environment files carry no control characters.",
    ),
    "CC613": Kind(
        ERROR,
        "A database role that PostgreSQL reads otherwise",
        "The name stands without quotes in pg_hba.conf, where all, +name, @name and /name have a meaning of their "
        "own. PostgreSQL keeps 63 bytes. Roles of the system would lose their rights.",
    ),
    "CC614": Kind(
        ERROR,
        "A database that PostgreSQL reads otherwise",
        "The name stands without quotes in pg_hba.conf, where all, sameuser and others have a meaning of their "
        "own. PostgreSQL keeps 63 bytes. Databases of the system would change their owner.",
    ),
    "CC615": Kind(
        ERROR,
        "A user of Flower that cannot log in",
        "Flower takes name:password, several of them separated by commas, and compares ASCII only.",
    ),
    "CC616": Kind(
        ERROR,
        "An account that cannot be created",
        "Accounts have up to 32 letters, digits, _ and -; the one that builds environments has -build after "
        "celery_user, which leaves 26.",
    ),
    "CC617": Kind(
        ERROR,
        "An account of the system as the cluster's own",
        "The role locks the password of celery_user, and sets its shell and home directory. Another service would "
        "lose its account.",
    ),
    "CC618": Kind(
        ERROR,
        "An unknown way to log in to the broker",
        "celery_broker_login is password, password_and_certificate or certificate.",
    ),
    "CC619": Kind(
        ERROR,
        "The broker user of a host is too long",
        "With celery_broker_identities_per_host a user is the prefix, the identity and the inventory name of the host. "
        "AMQP carries 255 bytes.",
    ),
    "CC620": Kind(
        ERROR,
        "A broker user is too long for a certificate",
        "With celery_broker_login certificate the common name of a client's certificate is its broker user, and a "
        "common name has at most 64 characters. Certificates that come with a password are named alike.",
    ),
    "CC621": Kind(
        ERROR,
        "A broker user that no certificate carries",
        "The common name of a client's certificate is its broker user. Commas, slashes, quotes and letters beyond "
        "ASCII are written in different ways there, and the broker would look for another user.",
    ),
    "CC622": Kind(
        WARNING,
        "A password that nobody uses",
        "With celery_broker_login certificate workers and producers have no password, and with "
        "celery_broker_identities_per_host each host has one of its own. With celery_database_login certificate the "
        "database's user has none, and an owner that is the user has no second one.",
    ),
    "CC623": Kind(
        ERROR,
        "A host name that cannot be part of a user",
        "With celery_broker_identities_per_host the inventory name of a host ends the name of its broker user and of "
        "the file with its password. A colon ends a user name for the management API, a slash leads elsewhere.",
    ),
    "CC624": Kind(
        ERROR,
        "An unknown way to log in to the database",
        "celery_database_login is password or certificate.",
    ),
    "CC625": Kind(
        ERROR,
        "One role that would log in in two ways",
        "With celery_database_login: certificate the workers' role has no password, and the owner always has one. "
        "The first line of pg_hba.conf that fits decides how a role logs in, so that the setup commands could not.",
    ),
    "CC626": Kind(
        ERROR,
        "A certificate is missing or cannot be read",
        "Certificates and keys are read in PEM format. With certificates_source: files, "
        "certificates_files_directory holds ca.pem, and for each host that serves something its name with .pem and "
        ".key; with a command, the command writes the files that its environment names.",
    ),
    "CC627": Kind(
        ERROR,
        "A certificate has expired",
        "Every client refuses it. Certificates of the cluster's own authority are renewed by site.yml; run it more "
        "often than certificates_renew_before_days is long.",
    ),
    "CC628": Kind(
        ERROR,
        "A certificate is not valid yet",
        "Every client refuses it until then. Often a clock is wrong: compare that of the host, of the controller "
        "and of whoever issued it.",
    ),
    "CC629": Kind(
        ERROR,
        "A private key is missing, unreadable or not that of its certificate",
        "The service would not start, or would not be able to prove who it is. Keys have no password, because "
        "nobody is there to type it.",
    ),
    "CC630": Kind(
        ERROR,
        "A certificate is not valid for a name in use",
        "Clients compare the name or address they connect to with the subject alternative names of the "
        "certificate, and refuse another one. The common name does not count.",
    ),
    "CC631": Kind(
        ERROR,
        "A certificate does not lead to the authority",
        "Clients trust the authorities in ca.pem and nobody else. Certificates between the host's and the authority "
        "belong into the host's file, the authority itself, which signed itself, into ca.pem.",
    ),
    "CC632": Kind(
        ERROR,
        "An authority may not sign the certificate",
        "A certificate signs others only with CA:TRUE in its basic constraints and keyCertSign in its key usage, "
        "and only as far down as its path length allows.",
    ),
    "CC633": Kind(
        ERROR,
        "A certificate is for another purpose",
        "Brokers, database and Flower need serverAuth in the extended key usage, brokers of a cluster and the "
        "broker's users clientAuth. A certificate without extended key usage serves for everything.",
    ),
    "CC634": Kind(
        ERROR,
        "The certificates of a file are in the wrong order",
        "A server sends its file as it is: the host's own certificate comes first, each following one signed the one "
        "before it.",
    ),
    "CC635": Kind(
        WARNING,
        "A certificate ends soon",
        "It ends within certificates_renew_before_days. Certificates of the cluster's own authority are renewed in "
        "time by site.yml, the authority itself by playbooks/rotate_certificates.yml with -e rotate=authority.",
    ),
    "CC636": Kind(
        ERROR,
        "A client certificate has another common name than its user",
        "With celery_broker_login: certificate the broker takes the common name for the user's name, and with "
        "celery_database_login: certificate the database does.",
    ),
    "CC637": Kind(
        ERROR,
        "A certificate is too weak",
        "OpenSSL on Debian refuses RSA keys below 2048 bits and signatures with SHA-1 or MD5.",
    ),
    "CC638": Kind(
        WARNING,
        "A certificate that strict clients refuse",
        "Python 3.13 and newer look at what RFC 5280 asks: key identifiers in all certificates but the root's "
        "authority key identifier, and key usage and critical basic constraints in those of authorities. Workers on "
        "an older Python, brokers and database accept it.",
    ),
    "CC639": Kind(
        ERROR,
        "Another authority for a server of our own",
        "A managed server has a certificate of the cluster's authority. Clients that look for another authority "
        "refuse it.",
    ),
    "CC640": Kind(
        ERROR,
        "The authority of the database cannot be read",
        "celery_database_ca_file is a file on the controller with the certificates of the authorities that signed "
        "that of an existing server, in PEM format. Every host gets a copy, so it must not hold a private key.",
    ),
    "CC641": Kind(
        ERROR,
        "A database password that libpq does not read back",
        "In pg_service.conf a value ends with its line, of which libpq drops white space at the end and takes 1021 "
        "bytes.",
    ),
    "CC650": Kind(
        ERROR,
        "The name of a credential cannot be carried",
        "The name is part of a unit, and that of a file, which the application reads in the directory that "
        "CREDENTIALS_DIRECTORY names.",
    ),
    "CC651": Kind(
        ERROR,
        "A credential without a usable content",
        "celery_credentials holds texts, which may have several lines. An empty one is mostly a variable that was "
        "forgotten, and digits without quotes are a number, which may lose its first 0.",
    ),
    "CC652": Kind(
        ERROR,
        "The credentials are too large",
        "systemd hands at most 1 MiB to a service, and would not start it with more. Larger files belong to "
        "celery_config_files.",
    ),
    "CC660": Kind(
        ERROR,
        "Whom Flower lets in is no address",
        "flower_oauth.emails lists addresses, or *@ and a domain. Flower calls its option a regular expression and "
        "compares text since release 1.2: an anchored expression lets nobody in. Releases before took it as one "
        "without an end, so that .*@example.org let ann@example.org.evil.net in.",
    ),
    "CC661": Kind(
        ERROR,
        "A domain beside other addresses",
        "Flower takes a list of addresses, or everybody of one domain.",
    ),
    "CC662": Kind(
        ERROR,
        "The login of Flower by OAuth is not complete",
        "A provider wants to know who asks (key, secret) and where the browser returns to (redirect_uri, always by "
        "HTTPS, because the address carries what opens the door).",
    ),
    "CC663": Kind(
        ERROR,
        "A variable of Flower that the role decides",
        "Set beside the role's own variables it would open what these close, or be overlooked by nginx and the checks.",
    ),
    "CC664": Kind(
        ERROR,
        "Flower's page cannot be there",
        "Addresses, names, ports and the prefix become part of nginx's configuration and of the page's address.",
    ),
    "CC665": Kind(
        ERROR,
        "Neither an address nor a network",
        "Who may read /metrics and /healthcheck without a login is known by its address. A network has no bits "
        "behind its mask.",
    ),
    "CC666": Kind(
        WARNING,
        "Settings of a login that is not used",
        "flower_oauth has a meaning with flower_auth: oauth only.",
    ),
    # --- 7: paths ----------------------------------------------------------------------------------------------------
    "CC701": Kind(
        ERROR,
        "A path that is no path",
        "It is empty or no text.",
    ),
    "CC702": Kind(
        ERROR,
        "A relative path",
        "It would mean another directory for each process that reads it. A relative celery_secrets_directory "
        "would make new passwords and a new authority wherever the playbook is started.",
    ),
    "CC703": Kind(
        ERROR,
        "A directory of the system",
        "The roles set owner and mode of their directories, and the whole source tree is copied. Name a directory "
        "of its own.",
    ),
    "CC704": Kind(
        ERROR,
        "A path with ..",
        "Where it leads depends on links on the way. Write the path it shall mean.",
    ),
    "CC705": Kind(
        ERROR,
        "A path with a character that is not carried",
        "Unit files, configuration files, PYTHONPATH and a shell hold these paths without quotes: a space, % or : "
        "would make another path of it.",
    ),
    "CC706": Kind(
        ERROR,
        "A directory that is lost at a reboot",
        "Temporary directories (/tmp, /run and their like) are emptied at a reboot or before. Code, keys and state "
        "must last.",
    ),
    "CC707": Kind(
        WARNING,
        "The secrets are lost at a reboot",
        "Without celery_secrets_directory the next run makes a new authority and new passwords, and nothing "
        "trusts the old ones.",
    ),
    "CC708": Kind(
        ERROR,
        "A directory that the services cannot enter",
        "The units run with ProtectHome and PrivateTmp: /home, /root, /run/user, /tmp and /var/tmp are empty for "
        "them. Nobody but root enters /root.",
    ),
    "CC709": Kind(
        ERROR,
        "An interpreter that the services cannot start",
        "An environment links to its interpreter. Below /root, a home directory or /tmp the services do not see it.",
    ),
    "CC710": Kind(
        ERROR,
        "Two roles keep one directory",
        "Each would set its own owner and mode, run after run, and one service could not read its key.",
    ),
    "CC711": Kind(
        ERROR,
        "Tasks could replace the code they run",
        "celery_state_directory and celery_directories belong to the account of the services. They must not be, "
        "hold or lie in what the roles keep below celery_root.",
    ),
    "CC712": Kind(
        ERROR,
        "The source tree and the releases are in each other's way",
        "A release that lies in the tree is copied into the next one; a tree below the releases is removed with "
        "them; a tree that is given to the services changes its owner.",
    ),
    "CC713": Kind(
        ERROR,
        "Secrets would travel with the code",
        "celery_secrets_directory lies in the tree that is copied to every host: each of them would have the key "
        "of the authority and all passwords. So do the dumps of the database where its host is the source host.",
    ),
    "CC714": Kind(
        WARNING,
        "Tasks write into the source tree",
        "Each file they write there makes a new release, and a file that changes while the tree is copied stops "
        "the play. Leave the directory out by code_exclude.",
    ),
    "CC715": Kind(
        ERROR,
        "The environment lies outside the tree",
        "With code_environment sync the environment travels with the tree: code_environment_path is relative to it.",
    ),
    "CC716": Kind(
        ERROR,
        "An exclude pattern that cannot be read",
        "code_exclude takes the part of rsync's patterns that is compared alike everywhere: names with * ? and "
        "[...], paths, and directories.",
    ),
    "CC717": Kind(
        ERROR,
        "No dump would be kept",
        "postgresql_backup_keep counts the dumps that stay, the new one among them.",
    ),
    "CC720": Kind(
        ERROR,
        "A configuration file without a usable name",
        "dest is the name of a file in the config directory below celery_root; directories are not made there.",
    ),
    "CC721": Kind(
        ERROR,
        "A configuration file would replace one of the collection",
        "The collection keeps environments, settings and certificates in the same directory.",
    ),
    "CC722": Kind(
        ERROR,
        "Two configuration files with one name",
        "The second would replace the first in every run.",
    ),
    "CC723": Kind(
        ERROR,
        "A mode that is not quoted octal digits",
        "YAML reads 0640 as the number 416, which as digits is another mode.",
    ),
    "CC730": Kind(
        ERROR,
        "Two sources of the code",
        "The code is a directory of the controller (code_source_path), a revision of a repository that the controller "
        "fetches (code_git_repository), or the tree of the host in the group celery_source.",
    ),
    "CC731": Kind(
        ERROR,
        "A repository without a revision, or a revision without a repository",
        "A default branch would deploy whatever was pushed last. Name what shall run.",
    ),
    "CC732": Kind(
        ERROR,
        "A login in the URL of the repository",
        "It would stand in the list of processes, in messages and on every host. git on the controller asks a "
        "credential helper, or ssh its agent.",
    ),
    "CC733": Kind(
        ERROR,
        "A repository that git cannot be asked for",
        "It is a URL of https, ssh, git, http or file, USER@HOST:PATH, or an absolute path on the controller.",
    ),
    "CC734": Kind(
        WARNING,
        "A repository over a connection that proves nothing",
        "Whoever is on the way can answer with code of his own, which then runs on every host. Only the full name of "
        "a commit as code_git_revision guards against it.",
    ),
    "CC735": Kind(
        ERROR,
        "A login in the URL of the package index",
        "While packages are installed the URL stands in the list of processes. code_index_username and "
        "code_index_password reach the tools in a file that the build account alone reads.",
    ),
    "CC736": Kind(
        ERROR,
        "A login of the package index that cannot be used",
        "User name and password are written together, without spaces, quotes, backslashes and #, which a netrc file "
        "does not carry for every tool, and for an index over TLS.",
    ),
    # --- 8: hosts ----------------------------------------------------------------------------------------------------
    "CC801": Kind(
        ERROR,
        "A host is not a supported one",
        "The collection is made and tested for Debian 12 and 13 with systemd. Elsewhere packages and paths differ.",
    ),
    "CC802": Kind(
        ERROR,
        "A name does not lead to its host",
        "Names are resolved on the host that will connect, because its /etc/hosts and its name servers count, not "
        "those of the controller. A name that leads to a loopback address leads a host to itself.",
    ),
    "CC803": Kind(
        ERROR,
        "A service that runs cannot be reached",
        "Somebody listens on the port, or should because it is outside the inventory, and a host that must connect "
        "to it cannot. A firewall between them is the usual reason.",
    ),
    "CC804": Kind(
        WARNING,
        "A port gives no answer",
        "Nothing listens there yet, and still a connection should be refused at once. Silence, or no route, means that "
        "something between the hosts drops it, and that the service will not be reached either.",
    ),
    "CC805": Kind(
        ERROR,
        "A clock is wrong",
        "Certificates and package lists are valid from one time to another, tasks have times at which they run or "
        "expire, and results are deleted by their age. Run a time service on every host and on the controller.",
    ),
    "CC806": Kind(
        WARNING,
        "A clock differs",
        "Celery and Flower report workers whose clocks differ, and times of tasks are wrong by as much. Run a time "
        "service on every host and on the controller.",
    ),
    "CC807": Kind(
        ERROR,
        "Not enough room for a release",
        "A release is made beside the one that runs, with an environment of its own. A disk that becomes full "
        "meanwhile harms the services that run. celery_disk_required_mb says how much one needs. Small files also use "
        "inodes.",
    ),
    "CC808": Kind(
        ERROR,
        "A directory cannot be written",
        "What the collection places on a host goes there: the file system must not be read-only, and no file may be in "
        "the way.",
    ),
    "CC809": Kind(
        ERROR,
        "The interpreter is missing",
        "Environments are made with the interpreter that code_python names. It is never downloaded.",
    ),
    "CC810": Kind(
        WARNING,
        "The interpreter is not there yet",
        "A package of celery_apt_packages, or of the collection, has the name of the interpreter. If it does not bring "
        "it, the release cannot be made.",
    ),
    "CC811": Kind(
        ERROR,
        "The interpreter is too old",
        "The agent in every Celery process and the tool that makes environments refuse it.",
    ),
    "CC812": Kind(
        WARNING,
        "The interpreter is old",
        "Current releases of Celery do not install on it. The newest one that does is taken, unless the application "
        "names a version.",
    ),
    "CC813": Kind(
        ERROR,
        "The interpreter is below a closed directory",
        "The services run as an account without privileges, and see no home directory at all. An interpreter below "
        "one, or below a directory that others may not enter, works for root and fails for them.",
    ),
    "CC814": Kind(
        ERROR,
        "The workers may use more memory than the host has",
        "memory_max protects the rest of a host from its workers. Limits that exceed the RAM together protect nothing: "
        "the kernel kills whatever it likes, the broker or the database included.",
    ),
    "CC815": Kind(
        ERROR,
        "The existing database server does not listen for other hosts",
        "With postgresql_mode: access nobody here changes where the server listens. Often its listen_addresses is "
        "localhost, which is PostgreSQL's default; a change of it needs a restart of the server.",
    ),
    "CC851": Kind(
        WARNING,
        "Classic queues on RabbitMQ 4 with kombu 5.7",
        "kombu 5.7 limits each consumer instead of the channel on RabbitMQ 4 and newer. Messages with an ETA or "
        "countdown (and retries) then count against the limit until they are due, and block the worker. Quorum "
        "queues on topic exchanges let the broker hold such messages back.",
    ),
    "CC852": Kind(
        ERROR,
        "Quorum queues with a Celery that does not know them",
        "Celery 5.5 cannot be told to declare quorum queues for the names a worker consumes, so that workers and "
        "publishers would disagree. Celery before 5.5 asks for a limit per channel, which quorum queues refuse, and "
        "ignores task_default_queue_type.",
    ),
    "CC853": Kind(
        WARNING,
        "Quorum queues on a direct exchange",
        "The broker holds messages with an ETA or countdown back through topic exchanges only. On a direct "
        "exchange Celery logs a warning, and they block the worker until they are due.",
    ),
    "CC854": Kind(
        ERROR,
        "RabbitMQ 4.3 with Celery before 5.7",
        "RabbitMQ 4.3 refuses queues that are neither durable nor exclusive, and Celery before 5.7 makes its "
        "control and event queues so: workers do not start. Celery 5.6 can be told otherwise by "
        "control_queue_exclusive and event_queue_exclusive.",
    ),
    "CC855": Kind(
        WARNING,
        "Celery 4 does not verify the broker",
        "A URL with ?ssl=1 is encrypted, and the certificate is not looked at. The services of the cluster verify "
        "it nevertheless, because the agent sets the options; what the application publishes outside them does "
        "not.",
    ),
    "CC856": Kind(
        ERROR,
        "An upgrade of RabbitMQ that skips a step",
        "Supported in place are 3.10 to 3.11, 3.11.18 to 3.12, 3.12 to 3.13, 3.13 to 4.0, 4.1 or 4.2, any of "
        "these to a later one up to 4.2, and 4.2 to 4.3. Before each step all stable feature flags must be "
        "enabled, or the broker does not start.",
    ),
    "CC857": Kind(
        ERROR,
        "A downgrade of RabbitMQ",
        "RabbitMQ supports no downgrade: the older version may not read the data of the newer one.",
    ),
    "CC858": Kind(
        ERROR,
        "Brokers of different series",
        "Brokers of one cluster have the same RabbitMQ series (4.0, 4.1). Debian 12 and 13 bring different ones: put "
        "the brokers of a cluster on one of them.",
    ),
    "CC859": Kind(
        WARNING,
        "An upgrade of the brokers is not finished",
        "Two neighbouring series work together while one broker after the other is upgraded. New features stay off, "
        "and no broker can join, until all have the newer one.",
    ),
    "CC860": Kind(
        WARNING,
        "A broker newer than those that were tried",
        "The roles are tested on RabbitMQ 3.10 and 4.0. From 4.3 on the brokers keep their own data in another way, "
        "refuse the control queues of Celery before 5.7 (CC854), and have no upgrade path from 4.1 and older. Try a "
        "cluster of your own first.",
    ),
    # --- 9: variables ------------------------------------------------------------------------------------------------
    "CC901": Kind(
        ERROR,
        "An unknown variable of this collection",
        "Names that begin with celery_ belong to this collection. One that no role reads is a misspelling, and what "
        "was meant would silently keep its default.",
    ),
    "CC902": Kind(
        WARNING,
        "A variable that looks like one of this collection",
        "It has the prefix of a role of this collection, and no role reads it. It may be a misspelling, or belong to "
        "another collection.",
    ),
    "CC903": Kind(
        ERROR,
        "A variable has the wrong type or a value that is not among its choices",
        "The documentation of the role says what a variable takes; `ansible-doc -t role` shows it.",
    ),
    "CC904": Kind(
        ERROR,
        "A variable cannot be computed",
        "Its expression fails on the controller, so it would fail on every host. Expressions that wait for the facts "
        "of a host are no problem.",
    ),
}
