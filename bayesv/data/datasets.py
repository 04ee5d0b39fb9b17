"""Data sets of the seed models and of lme4's examples, with factor levels in R's order."""

from __future__ import annotations

from importlib import resources

import pandas as pd

from bayesv.errors import DataError, near

__all__ = ["load_dataset"]

# Factors by data set; None: levels sorted (numbers as numbers), else in the order given. CSV files
# do not keep the order, and the first level is the reference in treatment coding.
_FACTORS: dict[str, dict[str, list[str] | None]] = {
    "sleepstudy": {"Subject": None},
    "three_level": {"sch.cl": None, "tch.cl": None},
    "star_k20": {
        "id": None,
        "sch": None,
        "gr": ["K", "1", "2", "3"],
        "cltype": ["small", "reg", "reg+A"],
        "hdeg": ["ASSOC", "BS/BA", "MS/MA/MEd", "MA+", "Ed.S", "Ed.D/Ph.D"],
        "clad": ["NOT", "APPR", "PROB", "PEND", "1", "2", "3"],
        "trace": ["W", "B", "A", "H", "I", "O"],
        "ses": ["F", "N"],
        "schtype": ["inner", "suburb", "rural", "urban"],
        "sx": ["M", "F"],
        "eth": ["W", "B", "A", "H", "I", "O"],
        "tch": None,
    },
    "penicillin": {"plate": None, "sample": None},
    "dyestuff": {"Batch": None},
    "dyestuff2": {"Batch": None},
    "insteval": {
        "s": None,
        "d": None,
        "studage": None,
        "lectage": None,
        "service": None,
        "dept": None,
    },
    "fev": {
        "USUBJID": None,
        "AVISIT": None,
        "ARMCD": ["PBO", "TRT"],
        "RACE": ["Asian", "Black or African American", "White"],
        "SEX": ["Male", "Female"],
    },
    "orthodont": {"Subject": None, "Sex": ["Male", "Female"]},
    "konstantopoulos": {"district": None, "school": None, "study": None},
}


def load_dataset(name: str) -> pd.DataFrame:
    """Load a data set that comes with bayesv.

    Parameters
    ----------
    name : {"sleepstudy", "three_level", "star_k20", "penicillin", "dyestuff", "dyestuff2", \
"insteval", "fev", "orthodont", "konstantopoulos"}
        sleepstudy: reaction times (ms) of 18 subjects over 10 days of sleep deprivation.
        three_level: simulated pupils in teachers in schools. star_k20: a 20 % sample of the
        kindergarten year of Tennessee's STAR experiment. penicillin, dyestuff, dyestuff2, insteval:
        lme4's examples of crossed factors, one variance, a zero variance, and large crossed data.
        fev: a simulated trial with four visits, some missed. orthodont: growth (mm) of 27 children.
        konstantopoulos: 56 studies of school calendars, effects ``yi`` with known variances ``vi``.

    Returns
    -------
    DataFrame
        Factors are categoricals with the level order of the original R data.

    Raises
    ------
    DataError
        If there is no data set of that name.

    Examples
    --------
    >>> load_dataset("sleepstudy").shape
    (180, 3)
    """
    if not isinstance(name, str) or name not in _FACTORS:
        raise DataError(
            f"There is no data set {name!r}{near(str(name), _FACTORS)} Available: "
            f"{', '.join(_FACTORS)}."
        )
    with resources.as_file(resources.files("bayesv") / "data" / f"{name}.csv.gz") as path:
        frame = pd.read_csv(path, keep_default_na=False, na_values=["NA"])
    for column, levels in _FACTORS[name].items():
        factor = pd.Categorical(frame[column])
        text = factor.rename_categories([str(level) for level in factor.categories])
        if levels is not None:
            text = text.set_categories([level for level in levels if level in text.categories])
        frame[column] = text
    return frame
