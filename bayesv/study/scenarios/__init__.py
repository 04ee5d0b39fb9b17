"""Scenarios that are checked as they are stated, alone and in grids."""
