"""The product's rules: the actions that follow from a client's frame. They live in this package and nowhere else."""
