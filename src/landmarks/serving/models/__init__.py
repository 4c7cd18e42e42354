"""The served models: each with its workers, and reloaded when its folder changes."""
