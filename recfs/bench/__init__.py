"""Figures of recfs beside the native file system and bindfs, taken side by side in one run.

    places      a native directory, bindfs and recfs on the same disk
    figures     cases, targets, medians, the table
    files       cases: writes and small files
    databases   cases: SQLite, pgbench, restore of a PostgreSQL log
    rounds      the run: rounds of cases, each on every place in turn
"""
