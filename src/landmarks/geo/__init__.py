"""Where landmarks are: the gazetteer."""
