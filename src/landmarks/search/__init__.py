"""Search by picture and by tag, near-duplicates, and landmarks learnt from a few photos (extra: search)."""
