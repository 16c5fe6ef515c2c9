"""Connects to ports, says something, and tells what came back.

Of each attempt: `address`, `port`, `send` (hexadecimal), `tls`; with TLS also `certificate` and `key` (texts), or
`certificate_file` and `key_file`. Answers for each: `handshake` (with TLS), `answer` (hexadecimal), `open` (whether the
other side had not closed the connection after SECONDS), `error`.
"""

import json
import os
import socket
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

SECONDS = 3.0


def context_of(attempt):
    # Who the other side is does not matter here: this client is a stranger that takes what it gets.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if attempt.get("certificate_file"):
        context.load_cert_chain(attempt["certificate_file"], attempt["key_file"])
    elif attempt.get("certificate"):
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(attempt["certificate"] + attempt["key"])
            file.flush()
            context.load_cert_chain(file.name)
    return context


def read(link, result):
    """What the other side says, until it closes, or says nothing for a while. TLS 1.3 refuses a client only here."""
    data = b""
    while len(data) < 4096:
        try:
            part = link.recv(4096)
        except TimeoutError:
            result["open"] = True
            break
        if not part:
            break
        data += part
        result["answer"] = data.hex()
        # Enough to know who speaks.
        link.settimeout(0.5)


def run(attempt):
    result = {"handshake": False, "answer": "", "open": False, "error": ""}
    try:
        with socket.create_connection((attempt["address"], attempt["port"]), SECONDS) as link:
            if attempt["tls"]:
                link = context_of(attempt).wrap_socket(link)
                result["handshake"] = True
                result["certificate"] = link.getpeercert(binary_form=True).hex()
            if attempt["send"]:
                link.sendall(bytes.fromhex(attempt["send"]))
            read(link, result)
            link.close()
    except OSError as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return result


with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(run, json.load(sys.stdin)))))
