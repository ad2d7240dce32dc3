"""Figures and tables for papers. Only this package knows matplotlib."""
