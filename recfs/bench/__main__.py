"""`scripts/bench`: choose cases, take figures, print the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from pathlib import Path
from types import FrameType

from recfs.bench.figures import table
from recfs.bench.places import PLACE_NAMES
from recfs.bench.rounds import BenchSettings, all_cases, run
from recfs.testing.databases.mounted import DaemonError
from recfs.testing.databases.scratch import Scratch, sweep
from recfs.testing.databases.server import ServerError


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    defaults = BenchSettings(Path())
    names = [case.name for case in all_cases(defaults)]
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Figures of recfs beside the native file system and bindfs.",
        epilog=f"Cases: {', '.join(names)}. A group's name chooses its cases: files, postgres.",
    )
    parser.add_argument("--cases", default="files,postgres", help="which, separated by commas")
    parser.add_argument("--places", default=",".join(PLACE_NAMES), help="where")
    parser.add_argument("--rounds", type=int, default=defaults.rounds)
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="of a timed case")
    parser.add_argument("--scale", type=int, default=defaults.scale, help="of pgbench")
    parser.add_argument("--megabytes", type=int, default=defaults.length >> 20, help="written")
    parser.add_argument("--files", type=int, default=defaults.files, help="created")
    parser.add_argument(
        "--mount-option", action="append", default=[], help="of recfs mount: --mount-option=--xattr"
    )
    parser.add_argument("--directory", type=Path, help="on the disk to measure (default: TMPDIR)")
    parser.add_argument("--json", type=Path, help="write the samples to this file (-: to stdout)")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)

    places = [name for name in PLACE_NAMES if name in options.places.split(",")]
    wanted = options.cases.split(",")
    unknown = [name for name in wanted if name not in (*names, "files", "postgres")]
    unknown += [name for name in options.places.split(",") if name not in PLACE_NAMES]
    if unknown:
        parser.error(f"no such case or place: {', '.join(unknown)}")

    sweep(options.directory)
    try:
        with Scratch(options.directory) as scratch:
            settings = BenchSettings(
                directory=scratch.path,
                rounds=options.rounds,
                seconds=options.seconds,
                scale=options.scale,
                length=options.megabytes << 20,
                files=options.files,
                places=places,
                recfs_options=options.mount_option,
            )
            cases = [
                case
                for case in all_cases(settings)
                if (case.name in wanted or case.group in wanted)
                and any(place in case.places for place in places)
            ]
            taken = run(settings, cases, lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print("\nInterrupted; everything is ended and removed.", file=sys.stderr)
        return 130
    except (DaemonError, ServerError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    host = {"kernel": platform.release(), "cores": os.cpu_count(), "rounds": options.rounds}
    found = json.dumps({**host, "figures": [each.to_json() for each in taken]}, indent=2)
    if options.json == Path("-"):
        print(found)
        return 0
    if options.json is not None:
        options.json.write_text(found + "\n")
    print(f"\nMedians of {options.rounds} rounds; {host['cores']} cores, Linux {host['kernel']}\n")
    print(table(taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
