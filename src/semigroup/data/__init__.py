"""Shipped real data, downloads with a checksum, generators and simulators, and file I/O."""
