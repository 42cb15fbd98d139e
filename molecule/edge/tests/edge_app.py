"""An app on a unix socket that answers at once (to /large at length), but /held only when somebody asks for /release; notes what it
hears."""

import asyncio
import re
import sys
from pathlib import Path

SOCKET, NOTES = sys.argv[1:]


async def serve(reader, writer):
    while head := await reader.readuntil(b"\r\n\r\n"):
        notes.write(head.split(b"\r\n")[0] + b"\n")
        if length := re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE):
            await reader.readexactly(int(length[1]))
        if head.startswith(b"GET /held"):
            await released.wait()
        elif head.startswith(b"GET /release"):
            released.set()
        body = b"x" * 1_500_000 if head.startswith(b"GET /large") else b"ok"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


async def main():
    global released
    released = asyncio.Event()
    server = await asyncio.start_unix_server(serve, SOCKET, backlog=4096)
    await server.serve_forever()


with Path(NOTES).open("wb", buffering=0) as notes:
    asyncio.run(main())
