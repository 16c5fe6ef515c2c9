# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every finding of playbooks/status.yml, by its code. docs/status.md lists this table; a test compares the two."""

from __future__ import annotations

from .catalogue import ERROR, WARNING, Kind

FINDINGS: dict[str, Kind] = {
    # --- 1: hosts ----------------------------------------------------------------------------------------------------
    "CS101": Kind(ERROR, "A host does not answer", "Nothing is known of what runs there."),
    "CS102": Kind(
        ERROR, "A disk is full, or nearly", "What cannot be written is lost; the broker stops publishers before that."
    ),
    "CS103": Kind(ERROR, "A certificate ends soon", "From that moment on nobody connects to what shows it."),
    "CS104": Kind(ERROR, "A port is open to other hosts without TLS", "Passwords and tasks would travel readable."),
    # --- 2: services -------------------------------------------------------------------------------------------------
    "CS201": Kind(ERROR, "A service does not run", "It was stopped, has failed, or was never started."),
    "CS202": Kind(ERROR, "A service is restarted again and again", "It starts and ends: its log says why."),
    "CS203": Kind(ERROR, "A service is frozen", "systemd calls it active, but a signal stopped it or it hangs."),
    "CS204": Kind(ERROR, "A worker takes no tasks", "It runs, but says itself that it does not consume."),
    "CS205": Kind(WARNING, "A service is near its memory limit", "Beyond it the kernel ends a process of it."),
    "CS206": Kind(ERROR, "No beat is active", "No periodic task is sent."),
    "CS207": Kind(ERROR, "More than one beat is active", "Periodic tasks are sent twice."),
    "CS208": Kind(ERROR, "The broker does not see a worker", "The worker runs, and the broker has no consumer of it."),
    # --- 3: releases -------------------------------------------------------------------------------------------------
    "CS301": Kind(ERROR, "A host has another release", "The same task may do different things on different hosts."),
    "CS302": Kind(ERROR, "A service runs another release than its host has", "It was not started with the release."),
    # --- 4: queues and brokers ---------------------------------------------------------------------------------------
    "CS401": Kind(ERROR, "A queue without consumers", "What is sent to it waits."),
    "CS402": Kind(ERROR, "A queue has fewer consumers than planned", "It is worked off more slowly."),
    "CS403": Kind(ERROR, "A queue grows", "More is sent to it than its workers finish."),
    "CS404": Kind(WARNING, "There are dead letters", "Tasks that no worker could finish, or that were refused."),
    "CS405": Kind(ERROR, "The broker blocks publishers", "It has too little memory or disk left."),
    "CS406": Kind(ERROR, "A broker is down or cut off", "The others serve without it; there is less to lose."),
    "CS407": Kind(ERROR, "No broker tells of its queues", "Its management API is what all of this is read from."),
    "CS408": Kind(ERROR, "Somebody is connected to the broker without TLS", "No service of the cluster is."),
    # --- 5: database -------------------------------------------------------------------------------------------------
    "CS501": Kind(
        ERROR, "More database connections than planned", "Soon somebody else gets none: the plan is what fits."
    ),
    "CS502": Kind(ERROR, "The database has hardly any connections left", "The next client is refused."),
    "CS503": Kind(ERROR, "The database does not answer", "Results are not stored."),
    "CS504": Kind(ERROR, "The database lets somebody in without TLS", "Passwords and results would travel readable."),
    # --- 6: proof ----------------------------------------------------------------------------------------------------
    "CS601": Kind(ERROR, "The last proof failed", "A task that was sent to a worker did not come back as it must."),
    "CS602": Kind(WARNING, "The last proof is old, or there was none", "Only a task that came back proves a link."),
}
