"""One request to a broker's management API, made on a broker. Answers [status, text]; status 0 is no answer at all."""

import base64
import http.client
import json
import ssl
import sys

given = json.load(sys.stdin)
headers = {"Content-Type": "application/json"}
if given["user"]:
    login = f"{given['user']}:{given['password']}".encode()
    headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
body = None if given["body"] is None else json.dumps(given["body"])
try:
    context = ssl.create_default_context(cafile=given["ca_file"])
    link = http.client.HTTPSConnection(given["host"], given["port"], context=context, timeout=given["seconds"])
    link.request(given["method"], "/api" + given["path"], body, headers)
    answer = link.getresponse()
    found = [answer.status, answer.read().decode()]
except (OSError, http.client.HTTPException) as error:
    found = [0, f"{type(error).__name__}: {error}"]
print(json.dumps(found))
