"""What a queue tells of itself, in the words of others: `prometheus` and `opentelemetry`.

Each module needs the extra of its name, and nothing else imports it.
"""
