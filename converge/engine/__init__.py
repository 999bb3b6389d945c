"""The engine: what a host is, what it should be, the plan between them, and how that is carried out."""
