"""The doctor of data sets: what is wrong with the pictures, before a network learns it."""
