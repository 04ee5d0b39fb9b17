"""A posterior: its draws, the posterior of V, estimates by loss, and checks of it."""
