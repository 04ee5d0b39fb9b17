"""bayesv: the marginal covariance of Gaussian linear mixed models, V = Z G Z' + R.

Public names stand in ``__init__.pyi``; each is loaded when it is first used, so that importing
bayesv, or asking its command line for help, takes no time.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
# `structures` is a function of another room than the one of its name, which lazy_loader cannot see.
globals()["__lazy_shadowed__"].add("structures")
