"""What photos of one trip tell about each other: clocks, positions, and tags that cannot be true together."""
