"""meta_analysis: effects of modified school calendars, whose sampling variances are known.

56 studies in 11 districts (Konstantopoulos 2011). Of each study there is one number, so that the
variance between studies can be told from noise only because the noise is known.
"""

import numpy as np
import pandas as pd
import pymc as pm

import bayesv as bv

FORMULA = "yi ~ 1 + (1 | district/school)"
OPTIONS = {"residual": bv.Known("vi")}

# metafor 3.8-1, rma.mv; its criterion without log|X'X|.
PUBLISHED = {"beta": {"Intercept": 0.184713164}, "REML": 19.9428}


def data():
    """Return the data: one row for each study."""
    return bv.load_dataset("konstantopoulos")


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    y, variance = df["yi"].to_numpy(), df["vi"].to_numpy()
    mean_y = (y / variance).sum() / (1 / variance).sum()
    square = ((y - mean_y) ** 2 / variance).sum() / (len(y) - 1)
    s = np.sqrt(square) * np.exp(0.5 * np.log(variance).mean())  # at a typical variance
    district = pd.factorize(df["district"], sort=True)[0]
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=1)
        sd_study = pm.HalfStudentT("sd_school:district", nu=3, sigma=2.5 * s, shape=1)
        sd_district = pm.HalfStudentT("sd_district", nu=3, sigma=2.5 * s, shape=1)
        u_study = sd_study * pm.Normal("z_school:district", 0, 1, shape=(56, 1))
        u_district = sd_district * pm.Normal("z_district", 0, 1, shape=(11, 1))
        mean = beta[0] + u_district[district, 0] + u_study[:, 0]
        pm.Normal("y", mean, np.sqrt(variance), observed=y)
    return model
