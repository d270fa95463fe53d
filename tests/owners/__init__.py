"""What owners of every kind have, saved by the library that saves it, and compiled by the command they would type."""
