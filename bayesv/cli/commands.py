"""The commands, each in a file of its name, and what each is for."""

from __future__ import annotations

__all__ = ["COMMANDS"]

COMMANDS = {
    "fit": "fit a model to a file",
    "demo": "fit the three seed models end to end",
    "compare": "compare saved fits of the same data",
    "lrt": "test a saved fit against a larger one by the ratio of likelihoods",
    "models": "compare saved posteriors of different structures",
    "structures": "fit a list of structures of V and compare them",
    "predict": "predict new rows from a saved fit",
    "v": "write V, a block of it, or its posterior summary",
    "report": "write the HTML page of saved fits",
    "describe": "show design, order of elimination and priors without fitting",
    "export-r": "print the R script that exports fits of lme4, nlme, glmmTMB, mmrm, metafor, brms",
    "study": "simulate, fit and score a declared study",
    "completion": "print what a shell needs to complete commands and options",
}
