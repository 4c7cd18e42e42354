"""From bytes to an upright RGB image and to the input of a network."""
