"""A case's bytes: the values of its tensors and how they lie in memory."""
