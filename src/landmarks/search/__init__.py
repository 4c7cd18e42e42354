"""Search by photo and by tag, and near-duplicates (extra: search)."""
