"""Hosts over SSH: reached, known by their keys, logged in to, and one root shell on each."""
