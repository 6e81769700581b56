"""What the tests of the final tier share."""

from tests.support.fixtures import clock, log_store, memory, records, store  # noqa: F401
