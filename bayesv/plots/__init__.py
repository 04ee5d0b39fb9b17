"""Pictures of designs, V, posteriors and comparisons, on matplotlib axes."""
