"""How far from right is allowed: bounds derived from the data and the declared arithmetic, and the judge that applies them."""
