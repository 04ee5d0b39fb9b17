"""Variance components as mixed-model programs print them."""

from bayesv.covariance.listings.read import read_varcorr

__all__ = ["read_varcorr"]
