"""What lies behind the numbers: which mistakes there are, where they are, and which labels may be wrong."""
