"""The scene cache: pictures that are made once for everybody of a client who asks for the same."""
