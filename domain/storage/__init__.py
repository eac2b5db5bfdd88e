"""The blob store beside the database: which rows name blobs, what is stored for whom, and what nobody names."""
