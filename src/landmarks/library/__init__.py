"""Photos in bulk: a ledger of what was read and written, resume, quarantine, undo, and verdicts on tags."""
