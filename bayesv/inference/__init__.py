"""Posterior engines. PyMC, Bambi and nutpie are imported only when a model is built or sampled."""
