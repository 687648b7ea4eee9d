"""The parts of `make bench`: data sets (data.py), how figures are shown (report.py), and what is measured."""
