"""What owners have (a folder, a file, a name) as a network with its weights and what its files say about it."""
