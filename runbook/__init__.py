"""What an operator does besides deploying: look, read logs, restart, replace a drive. One file a verb."""
