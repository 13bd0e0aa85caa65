"""Helpers for the course: they load, draw, watch and check; the lessons are in the notebooks."""
