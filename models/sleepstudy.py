"""sleepstudy: reaction time over days of sleep deprivation, intercept and slope per subject."""

import bambi as bmb
import numpy as np
import pymc as pm

import bayesv as bv

FORMULA = "Reaction ~ Days + (Days | Subject)"

# lme4 1.1-31, lmer with its default optimiser.
PUBLISHED = {
    "beta": {"Intercept": 251.40510485, "Days": 10.46728596},
    "REML": 1743.6283,
    "sd": {"Subject": {"Intercept": 24.741, "Days": 5.922}},
    "corr": {"Subject": 0.066},
    "sigma": 25.592,
}


def data():
    """Return the data: 18 subjects × 10 days."""
    return bv.load_dataset("sleepstudy")


def scales():
    """Return what bayesv's default priors are made of.

    Residual SD of y after X, and mean and standard deviation of the days.
    """
    df = data()
    X = np.column_stack([np.ones(len(df)), df["Days"]])
    square = np.linalg.lstsq(X, df["Reaction"])[1][0]
    return np.sqrt(square / (len(df) - 2)), df["Days"].mean(), df["Days"].std()


def pymc_model():
    """State the model in PyMC with bayesv's default priors: of the intercept at mean Days."""
    df = data()
    subject = df["Subject"].cat.codes.to_numpy()
    days = df["Days"].to_numpy()
    s, mean_x, sd_x = scales()
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=2)
        sd = pm.HalfStudentT("sd_Subject", nu=3, sigma=[2.5 * s, 2.5 * s / sd_x])
        L = pm.LKJCorr("chol_Subject", n=2, eta=1)  # Cholesky factor of the correlation matrix
        z = pm.Normal("z_Subject", 0, 1, shape=(18, 2))
        c = z @ (sd[:, None] * L).T  # effects on the intercept at mean Days, and on the slope
        u = pm.math.stack([c[:, 0] - mean_x * c[:, 1], c[:, 1]], axis=1)
        mean = beta[0] + beta[1] * days + u[subject, 0] + u[subject, 1] * days
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=s)
        pm.Normal("y", mean, sigma, observed=df["Reaction"])
    return model


def bambi_model():
    """State the model in Bambi; Bambi alone would make intercept and slope independent."""
    df = data()
    s, mean_x, sd_x = scales()

    scale_of = {"1|Subject": 2.5 * s, "Days|Subject": 2.5 * s / sd_x}

    def sd(name, **_):
        """Return an SD that Bambi asks for, or that a sibling has needed before."""
        model = pm.modelcontext(None)
        if name not in model.named_vars:
            pm.HalfStudentT(name, nu=3, sigma=scale_of[name.removesuffix("_sigma")])
        return model[name]

    def effects():
        """Intercept at mean Days, and slope; Bambi builds the intercepts first."""
        model = pm.modelcontext(None)
        if "chol_Subject" not in model.named_vars:
            pm.LKJCorr("chol_Subject", n=2, eta=1)
            for term in scale_of:
                pm.Normal(f"{term}_offset", 0, 1, shape=18)
        L = model["chol_Subject"]
        z0, z1 = model["1|Subject_offset"], model["Days|Subject_offset"]
        slope = sd("Days|Subject_sigma") * (L[1, 0] * z0 + L[1, 1] * z1)
        return sd("1|Subject_sigma") * L[0, 0] * z0, slope

    def intercept(name, dims, **_):
        at_mean, slope = effects()
        return pm.Deterministic(name, at_mean - mean_x * slope, dims=dims)

    def slope(name, dims, **_):
        return pm.Deterministic(name, effects()[1], dims=dims)

    def correlated(build):
        return bmb.Prior(
            "Correlated", dist=build, noncentered=False, sigma=bmb.Prior("SD", dist=sd)
        )

    priors = {
        "Intercept": bmb.Prior("Flat"),
        "Days": bmb.Prior("Flat"),
        "1|Subject": correlated(intercept),
        "Days|Subject": correlated(slope),
        "sigma": bmb.Prior("HalfStudentT", nu=3, sigma=s),
    }
    return bmb.Model(FORMULA, df, priors=priors, auto_scale=False, center_predictors=False)
