"""The doctor: finds problems of a data set before a network learns them."""
