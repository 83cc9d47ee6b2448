"""PyTorch: its functions, its modules and its compiler, in every mode."""
