"""TensorFlow: one call for every layer, in every mode."""
