from __future__ import annotations

import json

from recfs.bench.databases import PgbenchInit, SqliteCommits
from recfs.bench.figures import Figures, table
from recfs.bench.files import Writes
from recfs.bench.places import PlaceName


def taken(case: object, **figures: float) -> Figures:
    assert isinstance(case, Writes | SqliteCommits | PgbenchInit)
    found = Figures(case)
    names: tuple[PlaceName, ...] = ("native", "bindfs", "recfs")
    for name in names:
        if name in figures:
            found.add(name, figures[name])
    return found


WRITES = Writes(rewrite=False, length=4096)
SQLITE = SqliteCommits(seconds=1)
INIT = PgbenchInit(scale=1)


def test_the_figure_is_the_median() -> None:
    figures = Figures(SQLITE)
    for sample in (1.0, 9.0, 2.0):
        figures.add("recfs", sample)
    assert figures.medians() == {"recfs": 2.0}


def test_more_is_better_with_a_share_of_native() -> None:
    assert taken(SQLITE, native=1000, recfs=280).reached() is True
    assert taken(SQLITE, native=1000, recfs=279).reached() is False


def test_less_is_better_where_time_is_taken() -> None:
    assert taken(INIT, native=2, recfs=5).reached() is True
    assert taken(INIT, native=2, recfs=5.1).reached() is False


def test_every_bound_has_to_be_reached() -> None:
    assert taken(WRITES, native=900_000, bindfs=50_000, recfs=100_000).reached() is True
    assert taken(WRITES, native=900_000, bindfs=50_000, recfs=99_999).reached() is False
    assert taken(WRITES, native=900_000, bindfs=150_000, recfs=149_999).reached() is False


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert taken(SQLITE, recfs=280).reached() is None
    assert taken(SQLITE, native=1000).reached() is None
    assert taken(SQLITE, native=1000).ratio("native") is None


def test_the_table_shows_medians_ratios_and_what_was_missed() -> None:
    lines = table([taken(SQLITE, native=1000, bindfs=500, recfs=250)]).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[1:5] == ["commits/s", "1,000", "500", "250"]
    assert cells[5:] == ["0.25", "0.50", "≥ 0.28 native", "**no**"]
    assert len({len(line) for line in lines}) == 1


def test_the_samples_are_kept_in_the_json_form() -> None:
    found = json.loads(json.dumps(taken(SQLITE, native=1000, recfs=500).to_json()))
    assert found["samples"] == {"native": [1000], "recfs": [500]}
    assert found["ratio_to_native"] == 0.5
    assert found["reached"] is True
