"""The worker processes of the service."""
