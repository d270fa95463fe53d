"""`heatlens batch`: run a folder or a prefix through staged batches."""
