"""Drawings that only one chapter needs: a module for each chapter that has such drawings.

What a chapter explains stands in its cells; what it only draws stands here, so that the cells stay short.
Drawings that several chapters share are in `plots`. Functions here only draw: they take names and arrays
that the chapter has computed, and return the Figure or the Axes.
"""
