"""Single sign-on: a realm of Keycloak with its clients, groups and people, reconciled over its admin API."""
