# The passwords of containers that live for some minutes.
admin_password=admin-bench-1
worker_password=worker-bench-1
producer_password=producer-bench-1
flower_password=flower-bench-1
database_password=user-bench-1
owner_password=owner-bench-1
