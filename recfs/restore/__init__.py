"""From a log back to a directory: play, publish, hand-off; and the state of what is on disk."""
