"""MinIO: the cluster, its buckets, policies and accounts."""
