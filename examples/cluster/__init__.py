"""Two worker processes on one PostgreSQL, a producer, and a SIGKILL in mid-load.

tasks.py        what is declared: one task
worker.py       a worker process, as it runs on any machine
producer.py     a producer process
server.py       a PostgreSQL of its own, for as long as the story lasts
scenario.py     the story: who is started and killed, and when
compose.yaml    the same with containers
"""
