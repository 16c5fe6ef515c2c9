"""Reads one path of a broker's management API again and again, made on a broker: a line `[time, answer]` for each look.

The answer is null when there was none. It ends, after one more look, when its input does.
"""

import base64
import http.client
import json
import select
import ssl
import sys
import time

given = json.loads(sys.stdin.readline())
login = base64.b64encode(f"{given['user']}:{given['password']}".encode()).decode()
context = ssl.create_default_context(cafile=given["ca_file"])


def look():
    link = http.client.HTTPSConnection(given["host"], given["port"], context=context, timeout=given["seconds"])
    try:
        link.request("GET", "/api" + given["path"], headers={"Authorization": f"Basic {login}"})
        answer = link.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        link.close()


is_last = False
while True:
    print(json.dumps([time.time(), look()]), flush=True)
    if is_last:
        break
    is_last = bool(select.select([sys.stdin], [], [], given["every"])[0])
