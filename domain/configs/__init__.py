"""What devices are to run: a JSON object for each MAC, its versions, templates, and who has confirmed what."""
