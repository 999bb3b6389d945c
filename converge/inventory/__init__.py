"""The inventory: Ansible's files, read into hosts with validated settings and the place of each value."""
