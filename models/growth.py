"""growth: reaction time over days, where days that follow each other are alike (AR(1) residuals).

Intercepts and slopes of subjects are independent; the residuals of a subject are one vector.
"""

import numpy as np
import pymc as pm

import bayesv as bv

FORMULA = "Reaction ~ Days + (Days || Subject)"
OPTIONS = {"residual": "ar1(Days | Subject)"}

# nlme 3.1-162, lme with pdDiag and corAR1.
PUBLISHED = {"beta": {"Intercept": 252.155085, "Days": 10.467036}, "REML": 1726.1961}


def data():
    """Return the data: 18 subjects × 10 days, in order."""
    return bv.load_dataset("sleepstudy")


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    y, days = df["Reaction"].to_numpy().reshape(18, 10), np.arange(10)
    X = np.column_stack([np.ones(len(df)), df["Days"]])
    s = np.sqrt(np.linalg.lstsq(X, df["Reaction"])[1][0] / (len(df) - 2))
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=2)
        # Days alone in a term: in units of their root mean square.
        scales = 2.5 * s / np.array([1.0, np.sqrt((days**2).mean())])
        sd = pm.HalfStudentT("sd_Subject", nu=3, sigma=scales)
        u = sd * pm.Normal("z_Subject", 0, 1, shape=(18, 2))
        mean = beta[0] + u[:, :1] + (beta[1] + u[:, 1:]) * days
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=s)
        rho = pm.Uniform("rho", -1, 1)
        lag = np.abs(np.subtract.outer(days, days))
        corr = pm.math.where(lag == 0, 1.0, rho ** np.maximum(lag, 1))
        pm.MvNormal("y", mean, sigma**2 * corr, observed=y)
    return model
