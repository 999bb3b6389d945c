"""The settings of a host: their types, and whether they agree with one another."""
