"""star: kindergarten reading scores, effects of sex per school and per teacher in school.

The rows are unsorted, some scores are missing, and REML ends on the boundary with both correlations
at −1; the posterior has no such boundary estimate.
"""

import bambi as bmb
import pandas as pd
import pymc as pm

import bayesv as bv

FORMULA = "read ~ cltype + sx + (sx | sch/tch)"

# lme4 1.1-31, lmer with its default optimiser, a singular fit.
PUBLISHED = {
    "beta": {
        "Intercept": 438.908738032,
        "cltype[reg]": -5.923651561,
        "cltype[reg+A]": -2.209975227,
        "sx[F]": 2.045771286,
    },
    "REML": 10990.3882,
}


def data():
    """Return the complete rows: 1150 pupils, 319 teachers in 79 schools."""
    df = bv.load_dataset("star_k20").dropna(subset=["read", "cltype", "sx", "sch", "tch"])
    for name in ("cltype", "sx", "sch", "tch"):
        # Ordered, because formulae and Bambi sort the levels of an unordered factor.
        df[name] = df[name].cat.remove_unused_categories().cat.as_ordered()
    return df.reset_index(drop=True)


def pairs(df):
    """Return the observed pairs of teacher and school as a factor."""
    both = df.sort_values(["tch", "sch"])[["tch", "sch"]].astype(str)
    text = both["tch"] + ":" + both["sch"]
    return pd.Categorical(text.loc[df.index], categories=text.unique(), ordered=True)


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    groups = {"tch:sch": pairs(df), "sch": pd.Categorical(df["sch"])}
    girl = (df["sx"] == "F").to_numpy(float)
    sd_y = df["read"].std()
    sd_x = girl.std(ddof=1)
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=4)
        mean = beta[0] + beta[1] * (df["cltype"] == "reg").to_numpy()
        mean = mean + beta[2] * (df["cltype"] == "reg+A").to_numpy() + beta[3] * girl
        for name, group in groups.items():
            sd = pm.HalfStudentT(f"sd_{name}", nu=3, sigma=[sd_y, sd_y / sd_x])
            L = pm.LKJCorr(f"chol_{name}", n=2, eta=1)
            z = pm.Normal(f"z_{name}", 0, 1, shape=(len(group.categories), 2))
            u = z @ (sd[:, None] * L).T
            mean = mean + u[group.codes, 0] + u[group.codes, 1] * girl
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=sd_y)
        pm.Normal("y", mean, sigma, observed=df["read"])
    return model


def bambi_model():
    """State the model in Bambi, with correlated effects and the observed pairs as one factor."""
    df = data()
    df["teacher"] = pairs(df)
    sd_y, sd_x = df["read"].std(), (df["sx"] == "F").std()

    def effect_of_sex(group):
        def effect(name, sigma, dims, **_):
            model = pm.modelcontext(None)
            L = pm.LKJCorr(f"chol_{group}", n=2, eta=1)
            z0 = model[f"1|{group}_offset"]
            z1 = pm.Normal(f"sx|{group}_offset", 0, 1, dims=dims)
            u = sigma * (L[1, 0] * z0[:, None] + L[1, 1] * z1)
            return pm.Deterministic(name, u, dims=dims)

        return effect

    sd_0 = bmb.Prior("HalfStudentT", nu=3, sigma=sd_y)
    sd_1 = bmb.Prior("HalfStudentT", nu=3, sigma=sd_y / sd_x)
    priors = {"sigma": bmb.Prior("HalfStudentT", nu=3, sigma=sd_y)}
    priors |= {name: bmb.Prior("Flat") for name in ("Intercept", "cltype", "sx")}
    for group in ("sch", "teacher"):
        priors[f"1|{group}"] = bmb.Prior("Normal", mu=0, sigma=sd_0)
        priors[f"sx|{group}"] = bmb.Prior(
            "Correlated", dist=effect_of_sex(group), noncentered=False, sigma=sd_1
        )
    formula = "read ~ cltype + sx + (sx | sch) + (sx | teacher)"
    return bmb.Model(formula, df, priors=priors, auto_scale=False, center_predictors=False)
