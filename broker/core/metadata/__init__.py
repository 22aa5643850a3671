"""What the cluster has agreed on: metadata records and the image that they make."""
