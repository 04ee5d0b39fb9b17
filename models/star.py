"""star: kindergarten reading scores, effects of sex per school and per teacher in school.

The rows are unsorted, some scores are missing, and REML ends on the boundary with both correlations
at −1; the posterior has no such boundary estimate.
"""

import bambi as bmb
import numpy as np
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


def scales():
    """Return the residual SD of the scores after X, and the share of girls.

    bayesv's default priors are made of these: of the intercept at that share, and of the difference
    between girls and boys.
    """
    df = data()
    girl = (df["sx"] == "F").to_numpy(float)
    columns = [np.ones(len(df)), df["cltype"] == "reg", df["cltype"] == "reg+A", girl]
    square = np.linalg.lstsq(np.column_stack(columns).astype(float), df["read"])[1][0]
    return np.sqrt(square / (len(df) - 4)), girl.mean()


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    groups = {"tch:sch": pairs(df), "sch": pd.Categorical(df["sch"])}
    girl = (df["sx"] == "F").to_numpy(float)
    s, share = scales()
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=4)
        mean = beta[0] + beta[1] * (df["cltype"] == "reg").to_numpy()
        mean = mean + beta[2] * (df["cltype"] == "reg+A").to_numpy() + beta[3] * girl
        for name, group in groups.items():
            sd = pm.HalfStudentT(f"sd_{name}", nu=3, sigma=[2.5 * s, 2.5 * s])
            L = pm.LKJCorr(f"chol_{name}", n=2, eta=1)
            z = pm.Normal(f"z_{name}", 0, 1, shape=(len(group.categories), 2))
            c = z @ (sd[:, None] * L).T  # effects on the intercept at the mean of sx, and of sx
            mean = mean + c[group.codes, 0] + c[group.codes, 1] * (girl - share)
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=s)
        pm.Normal("y", mean, sigma, observed=df["read"])
    return model


def bambi_model():
    """State the model in Bambi, with correlated effects and the observed pairs as one factor."""
    df = data()
    df["teacher"] = pairs(df)
    s, share = scales()

    def sd(name, **_):
        """Return an SD that Bambi asks for, or that a sibling has needed before."""
        model = pm.modelcontext(None)
        if name not in model.named_vars:
            shape = 1 if name.startswith("sx") else ()  # Bambi has a column for each level but one
            pm.HalfStudentT(name, nu=3, sigma=2.5 * s, shape=shape)
        return model[name]

    def effects(group):
        """Intercept at the mean of sx, and effect of sx; Bambi builds the intercepts first."""
        model = pm.modelcontext(None)
        n = len(df[group].cat.categories)
        if f"chol_{group}" not in model.named_vars:
            pm.LKJCorr(f"chol_{group}", n=2, eta=1)
            pm.Normal(f"1|{group}_offset", 0, 1, shape=n)
            pm.Normal(f"sx|{group}_offset", 0, 1, shape=(n, 1))
        L = model[f"chol_{group}"]
        z0, z1 = model[f"1|{group}_offset"], model[f"sx|{group}_offset"]
        of_sex = sd(f"sx|{group}_sigma") * (L[1, 0] * z0[:, None] + L[1, 1] * z1)
        return sd(f"1|{group}_sigma") * L[0, 0] * z0, of_sex

    def intercept(group):
        def build(name, dims, **_):
            at_mean, of_sex = effects(group)
            return pm.Deterministic(name, at_mean - share * of_sex[:, 0], dims=dims)

        return build

    def sex(group):
        return lambda name, dims, **_: pm.Deterministic(name, effects(group)[1], dims=dims)

    priors = {"sigma": bmb.Prior("HalfStudentT", nu=3, sigma=s)}
    priors |= {name: bmb.Prior("Flat") for name in ("Intercept", "cltype", "sx")}
    for group in ("sch", "teacher"):
        for name, build in ((f"1|{group}", intercept), (f"sx|{group}", sex)):
            priors[name] = bmb.Prior(
                "Correlated",
                dist=build(group),
                noncentered=False,
                sigma=bmb.Prior("SD", dist=sd),
            )
    formula = "read ~ cltype + sx + (sx | sch) + (sx | teacher)"
    return bmb.Model(formula, df, priors=priors, auto_scale=False, center_predictors=False)
