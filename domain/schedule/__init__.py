"""What runs at times of the day, told in cron's words: when each was due, ran, failed, and is due next."""
