"""The commands of `reprolens`, a room each; what is heavy is imported when a command runs."""
