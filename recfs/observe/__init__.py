"""What a running mount tells of itself: logs, progress, status, and the control socket to ask."""
