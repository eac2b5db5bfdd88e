"""Idempotency keys: a mutation that is sent twice under one key happens once and is answered twice."""
