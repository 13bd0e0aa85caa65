"""The course around the notebooks: the environment, the learner's own copies, the lectures' numbers."""
