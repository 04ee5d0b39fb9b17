"""Models with data and published numbers, stated by hand."""
