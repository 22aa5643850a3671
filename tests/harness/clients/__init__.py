"""Tests of the clients, on librdkafka's mock cluster."""
