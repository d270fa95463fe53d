"""`heatlens verify`: compare a finished batch with its manifest."""
