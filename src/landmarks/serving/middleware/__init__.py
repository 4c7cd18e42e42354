"""What surrounds every request: limits, access, logs and metrics."""
