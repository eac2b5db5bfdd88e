"""Backups: a folder each, with the database, a list of the blobs, perhaps the blobs, and checksums of all of it.

    quartermaster-20260301T010000Z/
        backup.json       what it is: when, of which version, rows of each table, size and SHA-256 of each file
        database.dump     pg_dump's custom format, compressed
        blobs.jsonl.gz    a line for each blob: key, size, SHA-256
        blobs.tar         the blobs themselves, if they were wanted

It is made beside its place and moved there when it is whole and on the disk: what has the name is a backup.
"""
