"""The edge: what of a host is reached from outside, by one table of routes, and the program that carries it."""
