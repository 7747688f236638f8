"""The network, its bundle, what goes into it and what its outputs mean."""
