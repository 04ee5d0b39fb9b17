"""The design of a mixed model: y, X, Z, every label, and responses drawn from it."""
