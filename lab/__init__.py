"""Throwaway hosts for the demo and the tests: real systemd, udev, sshd, Docker and drives."""
