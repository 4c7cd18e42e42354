"""Files written whole or not at all, checksums, locks between processes."""
