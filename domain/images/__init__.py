"""Images, from the bytes that a device posted to what a person sees."""
