"""A process that appends to a journal until it is killed, and says what was acknowledged.

    python writer.py ROOT JOURNAL AUTHOR FRAGMENT_LENGTH

Each append holds lines "AUTHOR INDEX PADDING" of random length; when its commit has returned, the
line "INDEX END" goes to standard output. With AUTHOR "-" registers are not used; otherwise the
process fences first, writes while it may, and ends with "fenced".
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import trio

from recfs.clients.embedded import EmbeddedClient
from recfs.errors import Fenced
from recfs.journal.model import JournalSpec, Selector


async def main(*arguments: str) -> None:
    root, journal, author, fragment_length = arguments
    client = EmbeddedClient(Path(root), spec=JournalSpec(int(fragment_length)))
    await client.create(journal)
    check = None
    if author != "-":
        check = Selector(include={"author": (author,)})
        await client.append(journal, [f"{author} fence\n".encode()], union={"author": (author,)})
    os.write(1, b"ready\n")
    rng = random.Random(os.getpid())
    index = 0
    while True:
        line = f"{author} {index} {'x' * rng.randrange(3000)}\n".encode()
        try:
            commit = await client.append(journal, [line[:2], line[2:]], check=check)
        except Fenced:
            os.write(1, b"fenced\n")
            break
        os.write(1, f"{index} {commit.end}\n".encode())
        index += 1
        await trio.sleep(rng.uniform(0.0, 0.002))  # time outside of a commit, to be stopped in
    await client.aclose()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
