"""What collects all messages finds them: errors, log records, complaints of the command."""

from __future__ import annotations

from tests.support.messages import all_messages


def test_errors_records_and_complaints_are_collected_with_their_places() -> None:
    found = {(each.kind, each.text): each.where for each in all_messages()}
    shown = "{shown(value)}"
    wanted = {
        ("ConfigError", f"{{name}} must be a whole number >= {{smallest}}, not {shown}"): "config",
        ("report", "this process now runs the queue {self.directory}"): "membership",
        ("complain", "note: {torn}; what follows there does not count"): "selection",
        ("CommandError", "{path}: there is no such directory"): "access",
    }
    for message, module in wanted.items():
        file, _, line = found[message].rpartition(":")
        assert file.endswith(f"/{module}.py")
        assert int(line) > 1


def test_no_message_shouts_or_ends_in_the_midst() -> None:
    """A rough look at what each message has to be: the rest is for who reads the file."""
    for each in all_messages():
        text = each.text.strip()
        assert not text.endswith((":", ",", "!")), each
        assert "Error:" not in text.partition(" | ")[0] or "{" in text, each
