"""The seed models, stated by hand."""
