"""SQLite files that a user names: nothing is changed in one of another program."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection


def is_foreign(database: sqlite3.Connection, tables: Collection[str]) -> bool:
    """Return whether another program made a database; an empty one is anybody's.

    Args:
        database: An open database.
        tables: Tables that each version of ours has, with a `user_version` above 0.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    found = {
        name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    }
    # Read after the tables: another process may be making them, and the version with them.
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return bool(found) and (version == 0 or not found.issuperset(tables))
