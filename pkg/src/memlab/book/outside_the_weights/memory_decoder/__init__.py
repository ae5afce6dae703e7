"""Chapter 10: can a decoder read a matrix?"""
