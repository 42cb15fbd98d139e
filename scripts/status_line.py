"""Print the status line of a GET; the server's certificate (PEM) comes in on standard input and is verified."""

import http.client
import ssl
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1])
context = ssl.create_default_context(cadata=sys.stdin.read())
connection = http.client.HTTPSConnection(url.hostname or "", url.port or 443, context=context, timeout=10)
connection.request("GET", url.path or "/")
response = connection.getresponse()
body = response.read()
print(f"HTTP/{response.version / 10} {response.status} {response.reason}, {len(body)} bytes of {response.headers['Content-Type']}")
