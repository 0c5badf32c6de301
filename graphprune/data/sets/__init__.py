"""One file for each family of data sets; :func:`graphprune.data.load` says what all of them raise."""
