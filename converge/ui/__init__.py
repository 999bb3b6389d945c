"""What a person types and reads: the command line, plans as lines, screens."""
