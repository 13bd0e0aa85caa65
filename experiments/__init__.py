"""From the notebook to experiments: the lessons' models, one training script, sweeps, and a study
(docs/experiments.md).
"""
