"""Any model measured on any folder of photos: known landmarks, unknown ones, and photos of none."""
