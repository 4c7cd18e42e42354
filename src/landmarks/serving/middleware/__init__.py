"""Middleware around every request: limits, access control, logs and metrics."""
