"""What tests are written with: a running stack, clients of its protocols, photos."""
