"""Data sets from what a scenario says: rows, parameters, responses, and their truth."""
