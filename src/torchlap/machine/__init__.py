"""Reads this machine: facts, probes, installed packages, conditions."""
