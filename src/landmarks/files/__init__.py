"""Atomic file writes, checksums, locks between processes and the folder walk."""
