"""Priors: families, what they speak of, how they are written, and draws of them."""
