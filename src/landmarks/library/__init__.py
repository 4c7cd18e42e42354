"""Tags photos in bulk: a ledger of reads and writes, resuming, quarantine, undo, and verdicts on tags."""
