"""What an operator does to the blob store from the command line: verify it, and move it elsewhere."""
