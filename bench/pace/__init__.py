"""Put beside the application that bench/runtime.py measures: the task that is counted, and what is run in containers.

Each of the other modules is a program. It reads what it is given as JSON, answers in JSON, and runs in the environment
that the cluster's services have (celery-run).
"""
