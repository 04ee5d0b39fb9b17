"""sleepstudy: reaction time over days of sleep deprivation, intercept and slope per subject."""

import bambi as bmb
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


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    subject = df["Subject"].cat.codes.to_numpy()
    days = df["Days"].to_numpy()
    sd_y, sd_x = df["Reaction"].std(), df["Days"].std()
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=2)
        sd = pm.HalfStudentT("sd_Subject", nu=3, sigma=[sd_y, sd_y / sd_x])
        L = pm.LKJCorr("chol_Subject", n=2, eta=1)  # Cholesky factor of the correlation matrix
        z = pm.Normal("z_Subject", 0, 1, shape=(18, 2))
        u = z @ (sd[:, None] * L).T
        mean = beta[0] + beta[1] * days + u[subject, 0] + u[subject, 1] * days
        sigma = pm.HalfStudentT("sigma", nu=3, sigma=sd_y)
        pm.Normal("y", mean, sigma, observed=df["Reaction"])
    return model


def bambi_model():
    """State the model in Bambi; Bambi alone would make intercept and slope independent."""
    df = data()
    sd_y, sd_x = df["Reaction"].std(), df["Days"].std()

    def slope(name, sigma, dims, **_):
        model = pm.modelcontext(None)
        L = pm.LKJCorr("chol_Subject", n=2, eta=1)
        z0 = model["1|Subject_offset"]  # Bambi built the intercepts first, as sigma × offset
        z1 = pm.Normal("Days|Subject_offset", 0, 1, dims=dims)
        return pm.Deterministic(name, sigma * (L[1, 0] * z0 + L[1, 1] * z1), dims=dims)

    sd_0 = bmb.Prior("HalfStudentT", nu=3, sigma=sd_y)
    sd_1 = bmb.Prior("HalfStudentT", nu=3, sigma=sd_y / sd_x)
    priors = {
        "Intercept": bmb.Prior("Flat"),
        "Days": bmb.Prior("Flat"),
        "1|Subject": bmb.Prior("Normal", mu=0, sigma=sd_0),
        "Days|Subject": bmb.Prior("Correlated", dist=slope, noncentered=False, sigma=sd_1),
        "sigma": bmb.Prior("HalfStudentT", nu=3, sigma=sd_y),
    }
    return bmb.Model(FORMULA, df, priors=priors, auto_scale=False, center_predictors=False)
