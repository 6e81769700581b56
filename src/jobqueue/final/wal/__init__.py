"""The write-ahead log: a directory of JSON-lines files that outlives its process.

    LOCK                      the owner's pid; held by an exclusive flock
    00000007.snapshot.jsonl   everything still needed from segments 1..7
    00000008.jsonl            sealed
    00000009.jsonl            the active segment

A file starts with a header line. Batches follow: record lines, then one commit line. This has the
batch's number, its number of records, `synced` and a CRC-32 over all of it. `synced` is the last
batch known to be fsynced when this one was written. A batch counts whole or not at all.

What the disk lost above the highest `synced` found anywhere is a torn tail: it is cut, after a copy
is kept. What the disk lost at or below that mark it had promised to keep: the log is refused as
corrupt. `docs/wal_format.md` tells the format in full.

This package knows nothing of the queue but its errors. `files` is the only module that touches the
disk, with `libc` below it for calls that Python lacks, and `opening` and `place`: how files are
found and opened, and how a directory is held and locked. `names` tells its files apart, `appender`
adds to the active one, `slots` notes running jobs, `room` holds disk space in reserve. `format`
says what is written. `writing` gathers records into batches and brings them to the disk. `reading`
walks through a log, judges what is damaged, and folds records into jobs. `maintenance` writes what
is still needed into a snapshot, and salvages what is whole in a damaged log.
"""
