"""Chapter 9: how does a matrix remember?"""
