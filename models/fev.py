"""fev: lung volumes of a trial at four planned visits, the MMRM: any covariance of the visits.

Most patients miss visits: each pattern of seen visits has a block of one covariance.
"""

import numpy as np
import pymc as pm

import bayesv as bv

FORMULA = "FEV1 ~ ARMCD"
OPTIONS = {"residual": "us(AVISIT | USUBJID)"}

# nlme 3.1-162, gls with corSymm and varIdent; mmrm prints the same.
PUBLISHED = {"beta": {"Intercept": 41.00507, "ARMCD[TRT]": 3.81975}, "REML": 3667.9628}


def data():
    """Return the seen rows: 537 visits of 197 patients."""
    return bv.load_dataset("fev").dropna(subset=["FEV1"]).reset_index(drop=True)


def pymc_model():
    """State the model in PyMC with bayesv's default priors."""
    df = data()
    X = np.column_stack([np.ones(len(df)), df["ARMCD"] == "TRT"])
    s = np.sqrt(np.linalg.lstsq(X, df["FEV1"])[1][0] / (len(df) - 2))
    visit = df["AVISIT"].cat.codes.to_numpy()
    patterns: dict[tuple, list] = {}
    for rows in df.groupby("USUBJID", observed=True).indices.values():
        rows = rows[np.argsort(visit[rows])]
        patterns.setdefault(tuple(visit[rows]), []).append(rows)
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=2)
        sd = pm.HalfStudentT("sd_Residual", nu=3, sigma=s, shape=4)
        L = pm.LKJCorr("chol_Residual", n=4, eta=1)  # Cholesky factor of the correlation matrix
        cov = sd[:, None] * (L @ L.T) * sd
        mean = pm.math.dot(X, beta)
        for seen, rows in patterns.items():
            name, seen, rows = "y_" + "".join(map(str, seen)), np.array(seen), np.array(rows)
            y = df["FEV1"].to_numpy()[rows]
            pm.MvNormal(name, mean[rows], cov[seen[:, None], seen], observed=y)
    return model
