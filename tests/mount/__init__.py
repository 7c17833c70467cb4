"""Tests on a real mount, with the `recfs` command as a user runs it."""
