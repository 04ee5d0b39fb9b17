"""Families of covariance matrices, shared by random effects (G) and residuals (R)."""
