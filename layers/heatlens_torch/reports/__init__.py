"""Write the committed tables and schemas."""
