"""Real databases under load: what they acknowledged, and whether a restored directory holds it.

    scratch     a temporary place that ends every process and mount under it when it goes
    rows        what the loads write, as a function of a row's number; the verdict on what is found
    notes       acknowledgements, kept outside the file system under test
    load        a writing process that can be stopped, or killed
    sqlite      load and check of SQLite in its journal modes
    server      a PostgreSQL server in a given directory
    postgres    load and check of PostgreSQL
    workload    a database with its load, begun in one directory and judged in another
    mounted     file systems to run them on: `recfs mount` as a user would call it, and bindfs

Nothing here imports the file system under test; all of it works on any directory.
"""
