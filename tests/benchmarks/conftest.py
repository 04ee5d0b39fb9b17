"""Keep pytest out: benchmarks are run by hand, and their modules need no import to be tested."""

collect_ignore_glob = ["*.py"]
