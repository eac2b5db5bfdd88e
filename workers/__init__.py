"""What happens later: Dramatiq actors, the outbox relay, the schedule.

An actor opens a transaction, calls the domain and returns. It takes ids, may run twice, and keeps what it
must remember in the row that it works on.
"""
