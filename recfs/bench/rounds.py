"""The run: in each round every case on every place, the places in turn, each time another first.

A machine is faster now and slower then; what is taken within the same minute can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recfs.bench.databases import Memory, Pgbench, PgbenchInit, Restore, SqliteCommits
from recfs.bench.figures import Case, Figures, Group, Target
from recfs.bench.files import SmallFiles, Writes
from recfs.bench.places import PLACE_NAMES, Place, PlaceName, make_places


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """`directory` (empty) is where everything is put. `recfs_options` go to `recfs mount`."""

    directory: Path
    rounds: int = 3
    seconds: float = 5.0
    scale: int = 10
    length: int = 256 << 20
    files: int = 5000
    places: Sequence[PlaceName] = PLACE_NAMES
    recfs_options: Sequence[str] = field(default_factory=tuple)


def all_cases(settings: BenchSettings) -> list[Case]:
    scale, seconds = settings.scale, settings.seconds

    def pgbench(clients: int, of_native: float, read_only: bool = False) -> Case:
        return Pgbench(
            clients=clients,
            scale=scale,
            seconds=seconds,
            target=Target(of_native=of_native),
            read_only=read_only,
        )

    return [
        Writes(rewrite=False, length=settings.length),
        Writes(rewrite=True, length=settings.length),
        SmallFiles(files=settings.files),
        SqliteCommits(seconds=seconds),
        Memory("files"),
        PgbenchInit(scale=scale),
        pgbench(1, 0.45),
        pgbench(8, 0.6),
        pgbench(8, 0.8, read_only=True),
        Restore(scale=scale),
        Memory("postgres"),
    ]


def run(
    settings: BenchSettings, cases: Sequence[Case], say: Callable[[str], None]
) -> list[Figures]:
    """Take the figures of `cases`. What is mounted here is unmounted here, whatever happens."""
    taken = [Figures(case) for case in cases]
    groups: tuple[Group, ...] = ("files", "postgres")
    for group in groups:
        chosen = [figures for figures in taken if figures.case.group == group]
        if not chosen:
            continue
        root = settings.directory / group
        root.mkdir()
        places = make_places(settings.places, root, settings.recfs_options)
        try:
            for place in places:
                place.open()
            for number in range(settings.rounds):
                _round(number, chosen, places, say)
        finally:
            for place in places:
                place.close()
    return taken


def _round(
    number: int, chosen: Sequence[Figures], places: Sequence[Place], say: Callable[[str], None]
) -> None:
    for figures in chosen:
        for turn in range(len(places)):
            place = places[(number + turn) % len(places)]
            if place.name in figures.case.places:
                figure = figures.case.measure(place)
                figures.add(place.name, figure)
                say(
                    f"round {number + 1}: {figures.case.what}: {place.name}"
                    f" {figure:,.2f} {figures.case.unit}"
                )
