"""What a study fits to its data sets, and the estimates that come of it."""
