"""A whole study as a TOML file: scenarios, estimators, scores, replicates and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from bayesv.errors import BayesvError, ScenarioError
from bayesv.priors.text import priors_from_dict
from bayesv.study.declared.reading import choice, number, refusal, table, toml
from bayesv.study.estimation.candidates import Averaged, Chosen
from bayesv.study.estimation.procedures import ML, REML, Bayes, Estimator, estimators_of
from bayesv.study.scenarios.grids import read_scenarios
from bayesv.study.scenarios.scenario import Scenario
from bayesv.study.scoring.scores import Scores
from bayesv.support.arguments import PATH, accepts

__all__ = ["Declaration", "read_study"]

_TABLES = ("study", "estimators", "scores")
_KINDS: dict[str, type[REML | ML | Bayes | Chosen | Averaged]] = {
    "REML": REML, "ML": ML, "posterior": Bayes, "chosen": Chosen, "averaged": Averaged,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Declaration:
    """What `run` is to be called with.

    Attributes
    ----------
    scenarios : tuple of Scenario
    estimators : tuple of Estimator
    scores : Scores
    replicates, seed : int or None
        None where the file leaves them open.
    """

    scenarios: tuple[Scenario, ...]
    estimators: tuple[Estimator, ...]
    scores: Scores
    replicates: int | None
    seed: int | None


@accepts(path=PATH)
def read_study(path: str | Path) -> Declaration:
    """Read a study from a TOML file.

    Parameters
    ----------
    path : str or Path
        Tables ``[scenario]`` and ``[grid]`` as `read_scenarios` takes them; ``[study]`` with
        ``replicates`` and ``seed``; ``[[estimators]]`` with ``kind`` ("REML", "ML", "posterior",
        "chosen", "averaged") and the parameters of the estimator, ``priors`` as
        `bayesv.priors.text.priors_from_dict` takes them; ``[scores]`` with the parameters of
        `Scores`. Without estimators they are REML and the posterior mean.

    Raises
    ------
    BayesvError
        Naming the key that is wrong, what was found, and what is allowed.
    """
    path = Path(path)
    scenarios = read_scenarios(path, also=_TABLES)
    content = toml(path.read_text(encoding="utf-8"), str(path))
    asked = table("study", content.get("study", {}), [], ["replicates", "seed"])
    for key, within in (("replicates", "[1, inf)"), ("seed", "[0, inf)")):
        if key in asked:
            asked[key] = int(number(f"study.{key}", asked[key], within, whole=True))
    estimators = content.get("estimators", [{"kind": "REML"}, {"kind": "posterior"}])
    if not isinstance(estimators, list):
        raise refusal("estimators", estimators, "a list of tables, [[estimators]].")
    chosen = [_estimator(f"estimators[{i}]", one) for i, one in enumerate(estimators)]
    return Declaration(
        scenarios,
        estimators_of(chosen),
        Scores.from_dict(table("scores", content.get("scores", {}))),
        asked.get("replicates"),
        asked.get("seed"),
    )


def _estimator(key: str, content: Any) -> Estimator:
    """Return the estimator of a table, such as its ``to_dict`` makes."""
    options = table(key, content, ["kind"])
    kind = _KINDS[choice(f"{key}.kind", options["kind"], list(_KINDS))]
    stated = [item for item in fields(kind) if item.init]
    needed = [item.name for item in stated if item.default is MISSING]
    table(key, options, ["kind", *needed], [item.name for item in stated])
    del options["kind"]
    if not isinstance(options.get("name", ""), str):
        raise refusal(f"{key}.name", options["name"], "a text.")
    try:
        if "priors" in options:
            priors: Mapping[str, Any] = options["priors"]
            options["priors"] = priors_from_dict(priors)
        made: Estimator = kind(**options)
    except BayesvError as error:
        raise ScenarioError(f"{key}: {error}") from error
    return made
