"""Put cases and R's results into one file: freeze.py CASES.json RESULTS.json cases.json.gz."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path


def main() -> None:
    cases, results, target = (Path(name) for name in sys.argv[1:])
    frozen = json.loads(cases.read_text())
    pairs = list(zip(frozen["cases"], json.loads(results.read_text()), strict=True))
    # Formulas that R itself cannot evaluate say nothing.
    kept = [(case, result) for case, result in pairs if "error" not in result]
    frozen["generated"] = len(pairs)
    frozen["cases"], frozen["results"] = (list(part) for part in zip(*kept, strict=True))
    text = json.dumps(frozen, separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
