"""three_level: simulated pupils in teachers in schools, random intercepts at both levels."""

import bambi as bmb
import numpy as np
import pandas as pd
import pymc as pm

import bayesv as bv

FORMULA = "y ~ x1 + (1 | sch.cl/tch.cl)"

# lme4 1.1-31, lmer with its default optimiser.
PUBLISHED = {
    "beta": {"Intercept": 0.3758944630, "x1": 0.3587506591},
    "REML": 490.1123,
}


def data():
    """Return the data: 30 teachers in 10 schools."""
    return bv.load_dataset("three_level")


def pairs(df):
    """Return the observed pairs of teacher and school as a factor (30 of 300)."""
    both = df.sort_values(["tch.cl", "sch.cl"])[["tch.cl", "sch.cl"]].astype(str)
    text = both["tch.cl"] + ":" + both["sch.cl"]
    return pd.Categorical(text.loc[df.index], categories=text.unique(), ordered=True)


def scale():
    """Return the residual SD of y after X, the scale of bayesv's default priors."""
    df = data()
    X = np.column_stack([np.ones(len(df)), df["x1"]])
    return np.sqrt(np.linalg.lstsq(X, df["y"])[1][0] / (len(df) - 2))


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    school, teacher = df["sch.cl"].cat.codes.to_numpy(), pairs(df).codes
    s = scale()
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=2)
        sd_teacher = pm.HalfStudentT("sd_tch.cl:sch.cl", nu=3, sigma=2.5 * s, shape=1)
        sd_school = pm.HalfStudentT("sd_sch.cl", nu=3, sigma=2.5 * s, shape=1)
        u_teacher = sd_teacher * pm.Normal("z_tch.cl:sch.cl", 0, 1, shape=(30, 1))
        u_school = sd_school * pm.Normal("z_sch.cl", 0, 1, shape=(10, 1))
        mean = beta[0] + beta[1] * df["x1"].to_numpy()
        mean = mean + u_teacher[teacher, 0] + u_school[school, 0]
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=s)
        pm.Normal("y", mean, sigma, observed=df["y"])
    return model


def bambi_model():
    """State the model in Bambi, with the observed pairs as one factor."""
    df = data()
    df["school"], df["teacher"] = df["sch.cl"], pairs(df)
    sd = bmb.Prior("HalfStudentT", nu=3, sigma=2.5 * scale())
    priors = {
        "Intercept": bmb.Prior("Flat"),
        "x1": bmb.Prior("Flat"),
        "1|teacher": bmb.Prior("Normal", mu=0, sigma=sd),
        "1|school": bmb.Prior("Normal", mu=0, sigma=sd),
        "sigma": bmb.Prior("HalfStudentT", nu=3, sigma=scale()),
    }
    formula = "y ~ x1 + (1 | school) + (1 | teacher)"
    return bmb.Model(formula, df, priors=priors, auto_scale=False, center_predictors=False)
