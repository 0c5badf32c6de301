"""One file for each family of data sets."""
