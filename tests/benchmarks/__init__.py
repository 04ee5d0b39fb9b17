"""Benchmarks of bayesv against other systems: ``python -m tests.benchmarks`` from the root.

Every measurement is made in a process of its own, so that memory and warm-up are its own as well.
"""
