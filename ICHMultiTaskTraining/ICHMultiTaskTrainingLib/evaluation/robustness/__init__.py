"""How steady a model is, and that it is the blood that it measures."""
