"""PostgreSQL: the server, its users and its databases."""
