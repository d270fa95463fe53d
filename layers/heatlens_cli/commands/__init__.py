"""The commands of `heatlens`: their options and help; each imports what it runs."""
