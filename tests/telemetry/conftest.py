"""What the tests of telemetry share."""

from tests.support.fixtures import clock, log_store, memory, records  # noqa: F401
