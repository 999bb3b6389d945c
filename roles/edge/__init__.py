"""The edge: one table of routes says what of a host is reached from outside, and nginx or Traefik serves it."""
