"""Run folders: written, read, compared."""
