"""Pictures made by a model: the prompt, the job, and the providers that draw."""
