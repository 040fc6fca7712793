"""Sources: data sets read in order and in constant memory, typed, cleaned and checked."""
