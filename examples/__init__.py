"""Programs that use the package, each run with `python -m examples.<name>`."""
