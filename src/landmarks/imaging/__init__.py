"""From bytes to an upright RGB image, and on to the input of a network."""
