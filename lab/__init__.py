"""Experiments: the questions that every job queue raises, answered by running the three tiers.

`python -m lab NAME` runs one, prints what it found, and writes the data, a picture and the
numbers of its page. Read `experiment.py` for what an experiment is; each has a module of its own
and a page in `docs/lab`. The lab is run in the checkout: it is no part of the package.
"""

from .experiment import NAMES, Data, Experiment, Settings, load_experiment

__all__ = ["NAMES", "Data", "Experiment", "Settings", "load_experiment"]
