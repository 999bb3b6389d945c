"""The services of the inventory: containers that are described by a page of settings and need no code of their own."""
