"""Names of recorded tags in another language, without running a network."""
